//! How hard a new password is to guess, as zxcvbn estimates it (Wheeler, USENIX Security 2016).

use zxcvbn::Score;

/// The least score of a password: below it there are fewer than a million guesses to try.
const LEAST: Score = Score::Two;

/// As many characters are judged. More of them cost the estimator more than a hash costs; a password that is strong so
/// far is strong.
const JUDGED: usize = 32;

/// A password that is too easy to guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password is too weak: {advice}")]
pub struct Weak {
    /// 0 to 4; forms may show it.
    pub score: u8,
    /// The reason and the suggestions, for people.
    pub advice: String,
}

/// Judges the first characters of `password`, for which `known` about its owner are bad guesses. It takes up to some
/// tens of ms, as a hash does.
///
/// # Errors
/// When it is too weak.
pub fn judge(password: &str, known: &[String]) -> Result<(), Weak> {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let judged: String = password.chars().take(JUDGED).collect();
    let estimate = zxcvbn::zxcvbn(&judged, &known);
    if estimate.score() >= LEAST {
        return Ok(());
    }
    let mut advice = Vec::new();
    if let Some(feedback) = estimate.feedback() {
        advice.extend(feedback.warning().map(|warning| warning.to_string()));
        let suggestions = feedback.suggestions().iter();
        advice.extend(suggestions.map(ToString::to_string));
    }
    if advice.is_empty() {
        advice.push("It is easy to guess.".to_owned());
    }
    Err(Weak {
        score: estimate.score().into(),
        advice: advice.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_early_is_weak_and_the_advice_says_why() {
        let known = ["countess".to_owned(), "ada@example.org".to_owned()];
        for (password, score) in [
            ("12345678", 0),
            ("password", 0),
            ("abcdefgh", 0),
            ("countess", 0),
            ("hunter22", 1),
        ] {
            let weak = judge(password, &known).unwrap_err();
            assert_eq!(weak.score, score, "{password}");
            assert!(weak.advice.len() > 20, "{}", weak.advice);
        }
        let late = "password".repeat(4) + "and now something else";
        judge(&late, &known).unwrap_err();
        for password in [
            "correct horse",
            "battery staple",
            &format!("correct horse{:x<1000}", ""),
        ] {
            judge(password, &known).unwrap();
        }
    }
}
