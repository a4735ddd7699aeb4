//! Who may go on to an upstream, and who waits: turns and places in the queue as arithmetic, without a clock and without
//! anybody who is woken.
//!
//! Turns can't be taken back, and a call may keep one for minutes. So whoever has some already gets another only while it
//! has less than [`SHARE`] times what would be left then (dynamic thresholds, as switches share their memory): alone it
//! has four fifths at most, several have less each, and something is always left for who comes next. Of those who wait,
//! who has the fewest turns goes first, and among them who has waited longest. Places in the queue can be taken back:
//! where it is full, who has the most there makes room for who has fewer (longest queue drop).
//!
//! Invariant: one party alone never has the last of several turns, and who has none takes any that is free; turns of one
//! party come in the order in which they were asked for; nobody waits who may go on.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// Of what would be left, how many times as much one party may have before it takes one more.
pub(super) const SHARE: usize = 4;

/// The number of who waits, in the order in which they came.
pub(super) type Ticket = u64;

/// The turns of one upstream, and who waits for one.
#[derive(Debug)]
pub(super) struct Turns<P> {
    total: usize,
    free: usize,
    places: usize,
    waiting: usize,
    next: Ticket,
    parties: HashMap<P, Of>,
    /// Who waits, by how many turns they have and the first ticket of theirs.
    order: BTreeMap<(usize, Ticket), P>,
}

/// What one party has.
#[derive(Debug, Default)]
struct Of {
    held: usize,
    queue: VecDeque<Ticket>,
}

/// What is said to who asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It has one.
    Go,
    /// It waits; so that it may, somebody else does no longer.
    Wait(Ticket, Option<Ticket>),
    /// Too many wait.
    Full,
}

impl<P: Copy + Eq + Hash> Turns<P> {
    /// So many turns, and places for those who wait.
    pub(super) fn new(total: usize, places: usize) -> Self {
        Self {
            total,
            free: total,
            places,
            waiting: 0,
            next: 0,
            parties: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// How many have a turn.
    pub(super) fn under_way(&self) -> usize {
        self.total.saturating_sub(self.free)
    }

    /// How many wait for one.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Asks for a turn.
    pub(super) fn ask(&mut self, party: P) -> Told {
        let (held, own) = self.parties.get(&party).map_or((0, 0), |of| (of.held, of.queue.len()));
        // Who waits already may not go on, nor may whoever has as many.
        if own == 0 && may_have_another(held, self.free) {
            self.parties.entry(party).or_default().held += 1;
            self.free -= 1;
            return Told::Go;
        }
        let mut pushed_out = None;
        if self.waiting >= self.places {
            pushed_out = self.push_out(own);
            if pushed_out.is_none() {
                return Told::Full;
            }
        }
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        self.reorder(party, |of| of.queue.push_back(ticket));
        self.waiting += 1;
        Told::Wait(ticket, pushed_out)
    }

    /// Takes the last place of who has the most of them, if that is more than who has `own` would have with one more.
    fn push_out(&mut self, own: usize) -> Option<Ticket> {
        let (party, of) = self.parties.iter().max_by_key(|(_, of)| (of.queue.len(), of.queue.back()))?;
        let (party, last) = (*party, of.queue.back().copied()?);
        if of.queue.len() <= own + 1 {
            return None;
        }
        self.leave(party, last);
        Some(last)
    }

    /// Gives a turn back. Who may go on then says [`next`](Self::next).
    pub(super) fn give_back(&mut self, party: P) {
        self.reorder(party, |of| of.held = of.held.saturating_sub(1));
        self.free = self.free.saturating_add(1).min(self.total);
    }

    /// Gives a turn to who may go on, if anybody may. To be asked until nobody may, whenever a turn was given back.
    pub(super) fn next(&mut self) -> Option<Ticket> {
        // Whoever has more may not where who has the fewest may not.
        let (&(held, ticket), &party) = self.order.first_key_value()?;
        if !may_have_another(held, self.free) {
            return None;
        }
        self.reorder(party, |of| {
            of.queue.pop_front();
            of.held += 1;
        });
        self.waiting -= 1;
        self.free -= 1;
        Some(ticket)
    }

    /// Waits no longer. Whether it did: else it has been given a turn, or was pushed out.
    pub(super) fn leave(&mut self, party: P, ticket: Ticket) -> bool {
        let mut left = false;
        self.reorder(party, |of| {
            let before = of.queue.len();
            of.queue.retain(|other| *other != ticket);
            left = of.queue.len() < before;
        });
        self.waiting -= usize::from(left);
        left
    }

    /// Changes what a party has, and its place in the order with it.
    fn reorder(&mut self, party: P, change: impl FnOnce(&mut Of)) {
        let of = self.parties.entry(party).or_default();
        if let Some(first) = of.queue.front() {
            self.order.remove(&(of.held, *first));
        }
        change(of);
        match of.queue.front() {
            Some(first) => {
                self.order.insert((of.held, *first), party);
            }
            None if of.held == 0 => {
                self.parties.remove(&party);
            }
            None => {}
        }
    }
}

/// Whether who has so many turns may have another, where so many are free.
fn may_have_another(held: usize, free: usize) -> bool {
    match held {
        0 => free > 0,
        held => held < SHARE.saturating_mul(free.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Does {
        Asks(u8),
        GivesBack(usize),
        Leaves(usize),
    }

    fn does() -> impl Strategy<Value = Does> {
        prop_oneof![
            5 => (0_u8..5).prop_map(Does::Asks),
            3 => any::<usize>().prop_map(Does::GivesBack),
            1 => any::<usize>().prop_map(Does::Leaves),
        ]
    }

    /// The same rules, said of a list of who waits and a list of who has a turn, looked through each time.
    struct Oracle {
        total: usize,
        places: usize,
        has: Vec<u8>,
        waits: Vec<(u8, Ticket)>,
    }

    impl Oracle {
        fn held(&self, party: u8) -> usize {
            self.has.iter().filter(|it| **it == party).count()
        }

        fn queued(&self, party: u8) -> usize {
            self.waits.iter().filter(|(it, _)| *it == party).count()
        }

        fn may(&self, party: u8) -> bool {
            let (held, left) = (self.held(party), self.total - self.has.len());
            left >= 1 && (held == 0 || held < 4 * (left - 1))
        }

        /// Everybody who may go on does, the one with the fewest turns first, then who came first.
        fn go_on(&mut self) -> Vec<Ticket> {
            let mut gone = Vec::new();
            loop {
                let first = self.waits.iter().copied().filter(|(party, _)| self.may(*party));
                let Some((party, ticket)) = first.min_by_key(|(party, ticket)| (self.held(*party), *ticket))
                else {
                    return gone;
                };
                self.waits.retain(|(_, it)| *it != ticket);
                self.has.push(party);
                gone.push(ticket);
            }
        }

        /// Whose last place is taken: of who has most of them, the one who came last.
        fn pushed_out(&self, party: u8) -> Option<Ticket> {
            let most = self.waits.iter().map(|(it, _)| self.queued(*it)).max()?;
            let longest = self.waits.iter().filter(|(it, _)| self.queued(*it) == most);
            let last = longest.map(|(_, ticket)| *ticket).max();
            last.filter(|_| most > self.queued(party) + 1)
        }
    }

    proptest! {
        #[test]
        fn turns_are_given_as_the_rules_say(
            total in 1_usize..12,
            places in 0_usize..12,
            all in prop::collection::vec(does(), 0..160),
        ) {
            let mut turns = Turns::new(total, places);
            let mut oracle = Oracle { total, places, has: Vec::new(), waits: Vec::new() };
            for does in all {
                match does {
                    Does::Asks(party) => match turns.ask(party) {
                        Told::Go => {
                            prop_assert!(oracle.queued(party) == 0 && oracle.may(party));
                            oracle.has.push(party);
                        }
                        Told::Wait(ticket, instead) => {
                            prop_assert!(!oracle.may(party), "nobody waits who may go on");
                            let full = oracle.waits.len() >= oracle.places;
                            let expected = if full { oracle.pushed_out(party) } else { None };
                            prop_assert_eq!(instead, expected);
                            prop_assert!(!full || instead.is_some());
                            oracle.waits.retain(|(_, it)| Some(*it) != instead);
                            oracle.waits.push((party, ticket));
                        }
                        Told::Full => {
                            prop_assert!(!oracle.may(party));
                            prop_assert!(oracle.waits.len() >= places && oracle.pushed_out(party).is_none());
                        }
                    },
                    Does::GivesBack(at) if !oracle.has.is_empty() => {
                        let party = oracle.has.swap_remove(at % oracle.has.len());
                        turns.give_back(party);
                        let mut gone = Vec::new();
                        while let Some(ticket) = turns.next() {
                            gone.push(ticket);
                        }
                        prop_assert_eq!(gone, oracle.go_on());
                    }
                    Does::Leaves(at) if !oracle.waits.is_empty() => {
                        let (party, ticket) = oracle.waits.remove(at % oracle.waits.len());
                        prop_assert!(turns.leave(party, ticket));
                        prop_assert!(!turns.leave(party, ticket), "once");
                    }
                    Does::GivesBack(_) | Does::Leaves(_) => {}
                }
                prop_assert!(turns.next().is_none(), "nobody waits who may go on");
                prop_assert_eq!((turns.under_way(), turns.waiting()), (oracle.has.len(), oracle.waits.len()));
                // What all of it is for.
                for party in 0..5 {
                    prop_assert!(total == 1 || oracle.held(party) < total, "the last turn is somebody else's");
                }
            }
            for party in oracle.has.drain(..) {
                turns.give_back(party);
            }
            for (party, ticket) in oracle.waits.drain(..) {
                turns.leave(party, ticket);
            }
            prop_assert!(turns.parties.is_empty() && turns.order.is_empty(), "who has nothing takes up nothing");
        }

        /// Whoever asks, over and over, and keeps what it gets for as long as it likes: who comes next goes on.
        #[test]
        fn there_is_one_left_for_who_comes_next(total in 2_usize..300, greedy in 1_u8..20) {
            let mut turns = Turns::new(total, 400);
            for _ in 0..total {
                for party in 0..greedy {
                    turns.ask(party);
                }
            }
            prop_assert_eq!(turns.ask(200) == Told::Go, total > usize::from(greedy));
        }
    }

    #[test]
    fn how_much_one_alone_may_have() {
        let alone = |total: usize| {
            let mut turns = Turns::new(total, 0);
            (0..total).filter(|_| turns.ask('a') == Told::Go).count()
        };
        let shares: Vec<usize> = [1, 2, 3, 4, 8, 16, 32, 256].into_iter().map(alone).collect();
        assert_eq!(shares, [1, 1, 2, 3, 6, 12, 25, 204]);
    }

    #[test]
    fn who_has_the_most_places_makes_room() {
        let mut turns = Turns::new(1, 4);
        assert_eq!(turns.ask('a'), Told::Go);
        let waits: Vec<Told> = (0..5).map(|_| turns.ask('a')).collect();
        assert_eq!(waits[3], Told::Wait(3, None));
        assert_eq!(waits[4], Told::Full, "nobody has more than it has itself");
        assert_eq!(turns.ask('b'), Told::Wait(4, Some(3)));
        assert_eq!(turns.ask('b'), Told::Wait(5, Some(2)));
        assert_eq!(turns.ask('b'), Told::Full, "each has two");
        turns.give_back('a');
        // Both have none: who came first.
        assert_eq!((turns.next(), turns.next()), (Some(0), None));
        turns.give_back('a');
        assert_eq!(turns.next(), Some(1));
        assert_eq!(turns.ask('c'), Told::Wait(6, None));
        turns.give_back('a');
        assert_eq!(turns.next(), Some(4), "and nobody is passed over");
    }
}
