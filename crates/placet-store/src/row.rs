//! One row of an answer, whichever engine gave it.
//!
//! Invariant: a column that holds something else than it is asked for is a fault, never a default.

use crate::{fault::Fault, postgres::text::decode};
use placet_core::{
    id::{Id, Kind},
    time::Timestamp,
};

/// One row of an answer; columns count from 0.
#[derive(Debug)]
pub struct Row<'r>(Inner<'r>);

#[derive(Debug)]
enum Inner<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl<'r> From<&'r rusqlite::Row<'r>> for Row<'r> {
    fn from(row: &'r rusqlite::Row<'r>) -> Self {
        Self(Inner::Sqlite(row))
    }
}

impl<'r> From<&'r tokio_postgres::Row> for Row<'r> {
    fn from(row: &'r tokio_postgres::Row) -> Self {
        Self(Inner::Postgres(row))
    }
}

impl Row<'_> {
    /// A `TEXT`.
    ///
    /// # Errors
    /// [`Fault::Unreadable`] where the column holds something else; so for all accessors.
    pub fn text(&self, column: usize) -> Result<String, Fault> {
        self.optional_text(column)?.ok_or(Fault::Unreadable("a column"))
    }

    /// A `TEXT` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<String>, Fault> {
        match self.0 {
            Inner::Sqlite(row) => Ok(row.get(column)?),
            Inner::Postgres(row) => {
                Ok(row.try_get::<_, Option<&str>>(column).map_err(unreadable)?.map(decode))
            }
        }
    }

    /// A `BIGINT`.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn integer(&self, column: usize) -> Result<i64, Fault> {
        self.optional_integer(column)?.ok_or(Fault::Unreadable("a column"))
    }

    /// A `BIGINT` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub(crate) fn optional_integer(&self, column: usize) -> Result<Option<i64>, Fault> {
        match self.0 {
            Inner::Sqlite(row) => Ok(row.get(column)?),
            Inner::Postgres(row) => row.try_get(column).map_err(unreadable),
        }
    }

    /// A `BIGINT` that is never below zero: a version, a count, a position.
    ///
    /// # Errors
    /// As [`Row::text`], and where it is below zero.
    pub fn count(&self, column: usize) -> Result<u64, Fault> {
        u64::try_from(self.integer(column)?).map_err(|_| Fault::Unreadable("a count below zero"))
    }

    /// A boolean, stored as 0 or 1.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn boolean(&self, column: usize) -> Result<bool, Fault> {
        Ok(self.integer(column)? != 0)
    }

    /// A `BYTEA`.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn blob(&self, column: usize) -> Result<Vec<u8>, Fault> {
        self.optional_blob(column)?.ok_or(Fault::Unreadable("a column"))
    }

    /// A `BYTEA` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub(crate) fn optional_blob(&self, column: usize) -> Result<Option<Vec<u8>>, Fault> {
        match self.0 {
            Inner::Sqlite(row) => Ok(row.get(column)?),
            Inner::Postgres(row) => row.try_get(column).map_err(unreadable),
        }
    }

    /// A `BYTEA` of 32 bytes: a hash or digest.
    ///
    /// # Errors
    /// As [`Row::text`], and where the length differs.
    pub fn digest(&self, column: usize) -> Result<[u8; 32], Fault> {
        self.blob(column)?.try_into().map_err(|_| Fault::Unreadable("a digest"))
    }

    /// A time.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn time(&self, column: usize) -> Result<Timestamp, Fault> {
        self.integer(column).map(Timestamp::from_micros)
    }

    /// A time or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub(crate) fn optional_time(&self, column: usize) -> Result<Option<Timestamp>, Fault> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_micros))
    }

    /// An id.
    ///
    /// # Errors
    /// As [`Row::text`], and where it is no id of this kind.
    pub fn id<K: Kind>(&self, column: usize) -> Result<Id<K>, Fault> {
        self.text(column)?.parse().map_err(|_| Fault::Unreadable("an id"))
    }

    /// An id or NULL.
    ///
    /// # Errors
    /// As [`Row::id`].
    pub(crate) fn optional_id<K: Kind>(&self, column: usize) -> Result<Option<Id<K>>, Fault> {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(|_| Fault::Unreadable("an id"))).transpose()
    }

    /// A JSON document of type `T`, stored as `TEXT`.
    ///
    /// # Errors
    /// As [`Row::text`], and where the document is not a `T`.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, Fault> {
        let text: String = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| Fault::Unreadable("a document"))
    }
}

/// The driver says only that a column is of another type, or missing.
fn unreadable(_: tokio_postgres::Error) -> Fault {
    Fault::Unreadable("a column")
}
