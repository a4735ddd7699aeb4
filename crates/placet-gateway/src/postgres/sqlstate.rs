//! What a database's refusal means as a status: by its SQLSTATE alone.
//!
//! Invariant: nothing that the server says in words is passed on: it may hold rows.

/// The status and a sentence for an SQLSTATE. In every case the transaction has been rolled back.
pub(super) fn meaning(code: &str) -> (u16, &'static str) {
    match code {
        "23505" | "23P01" => (409, "a row like this is there already"),
        "23503" => (422, "another row that it refers to is missing, or refers to it"),
        "23502" => (422, "a column that needs a value has none"),
        "23514" | "44000" => (422, "the table does not allow such a row"),
        "42501" => (403, "the connection's user may not do this"),
        "25006" => (403, "the database does not let this transaction write"),
        "57014" => (504, "it took too long and was ended"),
        "40001" | "40P01" | "55P03" => (503, "another transaction was in its way: try again"),
        "57P01" | "57P02" | "57P03" => (503, "the database is shutting down or starting: try again later"),
        "P0001" => (422, "the database refused it"),
        _ => match code.get(..2) {
            Some("22") => (422, "a value is none that the column can hold"),
            Some("23") => (422, "a constraint of the table does not hold"),
            Some("40") => (503, "another transaction was in its way: try again"),
            Some("53") => (503, "the database has no resources left: try again later"),
            Some("42") => {
                (500, "the statement does not fit the table: compare the service's `tables` with it")
            }
            _ => (500, "the database could not do it"),
        },
    }
}
