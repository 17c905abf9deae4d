//! The mails that accounts get.

use chrono::TimeDelta;
use mail::{Content, Language, Source, TemplateError, Templates, values};

/// A mail to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// A link for a new password, to whoever asked for it.
    ResetPassword,
    /// The same for an account that was opened without a password.
    Invite,
    /// A link that shows that mail arrives.
    VerifyEmail,
    /// To the owner, in case it was somebody else.
    PasswordChanged,
    /// To the address so far, in case it was somebody else.
    EmailChanged,
}

impl Template {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ResetPassword,
        Self::Invite,
        Self::VerifyEmail,
        Self::PasswordChanged,
        Self::EmailChanged,
    ];
    /// Those with a link for a new password.
    pub const RESETS: [Self; 2] = [Self::ResetPassword, Self::Invite];

    /// Its name, in the store and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset_password",
            Self::Invite => "invite",
            Self::VerifyEmail => "verify_email",
            Self::PasswordChanged => "password_changed",
            Self::EmailChanged => "email_changed",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }

    /// How long its link holds, from the moment it is sent; `None` where it has none.
    pub fn holds(self) -> Option<TimeDelta> {
        match self {
            Self::ResetPassword => Some(TimeDelta::hours(1)),
            Self::Invite | Self::VerifyEmail => Some(TimeDelta::hours(24)),
            Self::PasswordChanged | Self::EmailChanged => None,
        }
    }

    /// What it says to `name`.
    ///
    /// # Errors
    /// When a template is at fault.
    pub fn render(
        self,
        templates: &Templates,
        language: Language,
        (site, name, link): (&str, &str, Option<&str>),
    ) -> Result<Content, TemplateError> {
        let hours = self.holds().map(|holds| holds.num_hours());
        let values = values! { site, name, link, hours };
        templates.render(self.name(), language, &values)
    }
}

macro_rules! sources {
    ($($name:literal)+) => {
        [$(
            ($name, Language::English, include_str!(concat!("../../mails/", $name, ".en"))),
            ($name, Language::German, include_str!(concat!("../../mails/", $name, ".de"))),
        )+]
    };
}

const SOURCES: &[Source] =
    &sources!("reset_password" "invite" "verify_email" "password_changed" "email_changed");

/// All templates, read.
///
/// # Errors
/// When one of them can't be read.
pub fn templates() -> Result<Templates, TemplateError> {
    Templates::new(SOURCES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mail_is_written_in_each_language_and_links_where_it_should() {
        let templates = templates().unwrap();
        for template in Template::ALL {
            assert_eq!(Template::parse(template.name()), Some(template));
            let link = template.holds().map(|_| "https://example.org/x#1");
            let mut subjects = Vec::new();
            for language in Language::ALL {
                let who = ("Horst", "a<b", link);
                let content = template.render(&templates, language, who).unwrap();
                assert!(content.subject.contains("Horst"), "{}", content.subject);
                assert!(content.text.contains("a<b") && content.html.contains("a&lt;b"));
                assert_eq!(
                    content.text.contains("https://example.org/x#1"),
                    link.is_some()
                );
                assert_eq!(content.html.contains("<a href"), link.is_some());
                subjects.push(content.subject);
            }
            assert_ne!(subjects[0], subjects[1]);
        }
        assert_eq!(Template::parse("another"), None);
    }
}
