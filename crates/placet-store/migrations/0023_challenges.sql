-- Challenges that were answered are remembered among the assertions: both are what others signed and presented once.
DROP TABLE used_challenges;
