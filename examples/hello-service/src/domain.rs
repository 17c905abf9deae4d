//! Notes, and the rules for them. No I/O.

use blocks::FieldErrors;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest text, in characters.
pub const MAX_TEXT_CHARS: usize = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize, sqlx_macros::FromRow)]
pub struct Note {
    pub id: Uuid,
    pub text: String,
    pub created_at: DateTime<Utc>,
}

/// The text of a note, without the blanks around it.
pub fn check_text(text: &str) -> Result<String, FieldErrors> {
    match text.trim() {
        "" => Err(FieldErrors::one("text", "must not be blank")),
        text if text.chars().count() > MAX_TEXT_CHARS => Err(FieldErrors::one(
            "text",
            format!("must have at most {MAX_TEXT_CHARS} characters"),
        )),
        text => Ok(text.to_owned()),
    }
}
