-- The thumbprint of the certificate that whoever uses a refresh token has to show (RFC 8705 §4).
ALTER TABLE refresh_tokens ADD COLUMN certificate TEXT COLLATE "C" CHECK (LENGTH(certificate) = 43);
