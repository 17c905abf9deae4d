//! The few places where the two databases speak differently.

/// The kind of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Dialect {
    /// Parameters for a list of values: `count` of them, from number `first` on. Each is bound once, in
    /// their order. SQLite gets them without numbers: its driver looks up every numbered one among all of
    /// them. For a list of many rows that takes longer than the insert.
    pub fn parameters(self, first: usize, count: usize) -> String {
        let parameter = |number: usize| match self {
            Self::Sqlite => "?".to_owned(),
            Self::Postgres => format!("${number}"),
        };
        let parameters: Vec<String> = (first..first + count).map(parameter).collect();
        parameters.join(", ")
    }

    /// A table function over a parameter that holds a JSON array as text: one row an element, in a column
    /// `value`. Then `value ->> 'field'` and `cast(value ->> 'field' as bigint)` work on both databases.
    pub fn json_rows(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({parameter})"),
            Self::Postgres => format!("jsonb_array_elements({parameter}::jsonb) as rows(value)"),
        }
    }

    /// A subquery of the texts in a JSON array: `key in (…)`.
    pub fn json_texts(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("(select value from json_each({parameter}))"),
            Self::Postgres => format!("(select jsonb_array_elements_text({parameter}::jsonb))"),
        }
    }

    /// A subquery of the integers in a JSON array: `id in (…)`.
    pub fn json_integers(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("(select value from json_each({parameter}))"),
            Self::Postgres => {
                format!("(select cast(jsonb_array_elements_text({parameter}::jsonb) as bigint))")
            }
        }
    }

    /// Compares and sorts the text before it by its bytes, whatever the language of the database.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " collate \"C\"",
        }
    }

    /// Locks the selected rows until the end of the write; SQLite's one writer needs no lock.
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for update",
        }
    }

    /// Keeps others from changing the selected rows until the end of the write, also in the `select`
    /// of an `insert`; SQLite's one writer needs no lock.
    pub fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for share",
        }
    }

    /// The database's own clock in ms since 1970: for leases only, which must not trust a holder's.
    pub(crate) fn clock_ms(self) -> &'static str {
        match self {
            Self::Sqlite => "cast(unixepoch('subsec') * 1000 as integer)",
            Self::Postgres => "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)",
        }
    }
}
