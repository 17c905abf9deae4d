//! The settings of mails to accounts.

use std::sync::Arc;

use anyhow::ensure;
use blocks::config::{self, Config, Setting};
use mail::{Language, LogMailer, MAIL_LANGUAGE, Mailer};

use super::Template;
use crate::PUBLIC_URL;

const PASSWORD_RESET_URL: Setting<Option<String>> = Setting::new(
    "PASSWORD_RESET_URL",
    "",
    "the page of the site where a new password is chosen, else `PUBLIC_URL/reset-password`; the token takes the place of \
     `{token}` in it, else it is added behind a `#`",
    PAGE,
    PAGE_IS,
);
const EMAIL_VERIFY_URL: Setting<Option<String>> = Setting::new(
    "EMAIL_VERIFY_URL",
    "",
    "the page of the site that verifies an address, else `PUBLIC_URL/verify-email`; with the token as above",
    PAGE,
    PAGE_IS,
);
const REQUIRE_VERIFIED_EMAIL: Setting<bool> = Setting::switch(
    "REQUIRE_VERIFIED_EMAIL",
    "false",
    "only accounts whose address was verified can log in; needs a way to send mails",
);

/// Those of auth; those of mail itself come before them.
pub const OWN: config::Settings = &[
    &PASSWORD_RESET_URL,
    &EMAIL_VERIFY_URL,
    &REQUIRE_VERIFIED_EMAIL,
];

const PAGE: &str = "a URL that begins with http:// or https://";

const PAGE_IS: fn(&str) -> Option<Option<String>> = |text| match text {
    "" => Some(None),
    text => is_page(text).then(|| Some(text.trim_end_matches('/').to_owned())),
};

fn is_page(text: &str) -> bool {
    let odd = |char: char| char.is_whitespace() || char.is_control() || "\"<>\\".contains(char);
    let mut rests = ["https://", "http://"].into_iter();
    let rest = rests.find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(odd))
}

/// How mails are made and sent.
#[derive(Clone)]
pub struct MailSettings {
    /// The way out.
    pub mailer: Arc<dyn Mailer>,
    /// The name of the site in mails.
    pub site: String,
    /// The language of an account of which none is known.
    pub language: Language,
    /// The page where a new password is chosen.
    pub reset_page: String,
    /// The page that verifies an address.
    pub verify_page: String,
    /// True if only accounts with a verified address can log in.
    pub requires_verified: bool,
}

impl Default for MailSettings {
    /// Mails reach nobody.
    fn default() -> Self {
        let page = |path: &str| format!("http://127.0.0.1:8000/{path}");
        Self {
            mailer: Arc::new(LogMailer { shows_text: false }),
            site: "rookery".into(),
            language: Language::default(),
            reset_page: page("reset-password"),
            verify_page: page("verify-email"),
            requires_verified: false,
        }
    }
}

impl MailSettings {
    /// Reads them.
    ///
    /// # Errors
    /// When one is absent that others need.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let mailer = mail::open(config)?;
        let public = config.get(&PUBLIC_URL);
        let public = public.map(|url| url.as_str().trim_end_matches('/').to_owned());
        let pages = (
            config.get(&PASSWORD_RESET_URL),
            config.get(&EMAIL_VERIFY_URL),
        );
        let is_known = public.is_some() || (pages.0.is_some() && pages.1.is_some());
        ensure!(
            is_known || !mailer.delivers(),
            "PUBLIC_URL is not set: links in mails begin with it, as https://example.org"
        );
        let requires_verified = config.get(&REQUIRE_VERIFIED_EMAIL);
        ensure!(
            mailer.delivers() || !requires_verified,
            "REQUIRE_VERIFIED_EMAIL needs SMTP_URL or SENDGRID_API_KEY: nobody could verify an address"
        );
        let public = public.unwrap_or_else(|| format!("http://127.0.0.1:{}", config.port));
        let page =
            |own: Option<String>, path: &str| own.unwrap_or_else(|| format!("{public}/{path}"));
        Ok(Self {
            mailer,
            site: config.app_name.clone(),
            language: config.get(&MAIL_LANGUAGE),
            reset_page: page(pages.0, "reset-password"),
            verify_page: page(pages.1, "verify-email"),
            requires_verified,
        })
    }

    /// The link of `template` with `token`; `None` where it has none.
    pub fn link(&self, template: Template, token: &str) -> Option<String> {
        let page = match template {
            Template::ResetPassword | Template::Invite => &self.reset_page,
            Template::VerifyEmail => &self.verify_page,
            Template::PasswordChanged | Template::EmailChanged => return None,
        };
        Some(if page.contains("{token}") {
            page.replace("{token}", token)
        } else {
            // Behind it nothing is sent to a server, so no log and no other site gets to know it.
            format!("{page}#{token}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> anyhow::Result<MailSettings> {
        let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let known = crate::DEFINITION.settings;
        let config = Config::from_sources(None, settings.iter().map(named), known)?;
        MailSettings::read(&config)
    }

    const SMTP: [(&str, &str); 2] = [
        ("SMTP_URL", "smtps://a:b@mail.example.org"),
        ("MAIL_FROM", "Horst <noreply@example.org>"),
    ];

    #[test]
    fn nothing_needs_to_be_set_and_what_is_set_must_be_whole() {
        let usual = read(&[]).unwrap();
        assert!(!usual.mailer.delivers());
        let link = usual.link(Template::Invite, "t").unwrap();
        assert_eq!(link, "http://127.0.0.1:8000/reset-password#t");
        assert_eq!(usual.link(Template::EmailChanged, "t"), None);
        for (more, named) in [
            (vec![SMTP[0]], "MAIL_FROM"),
            (SMTP.to_vec(), "PUBLIC_URL"),
            (
                vec![("REQUIRE_VERIFIED_EMAIL", "true")],
                "REQUIRE_VERIFIED_EMAIL",
            ),
            (
                vec![SMTP[0], SMTP[1], ("SENDGRID_API_KEY", "k")],
                "SENDGRID_API_KEY",
            ),
            (vec![("PUBLIC_URL", "example.org")], "PUBLIC_URL"),
            (vec![("PUBLIC_URL", "https://a b")], "PUBLIC_URL"),
            (vec![("MAIL_FROM", "nobody")], "MAIL_FROM"),
            (
                vec![("SMTP_URL", "smtp://a:hunter2@x?tls=none")],
                "SMTP_URL",
            ),
        ] {
            let why = format!("{:#}", read(&more).map(|_| ()).unwrap_err());
            assert!(
                why.contains(named) && !why.contains("hunter2"),
                "{named}: {why}"
            );
        }
    }

    #[test]
    fn a_link_leads_to_the_page_of_the_site() {
        let more = [
            ("PUBLIC_URL", "https://example.org/"),
            (
                "EMAIL_VERIFY_URL",
                "https://app.example.org/#/v?t={token}&x=1",
            ),
        ];
        let all: Vec<_> = SMTP.into_iter().chain(more).collect();
        let settings = read(&all).unwrap();
        assert!(settings.mailer.delivers());
        let reset = settings.link(Template::ResetPassword, "t1").unwrap();
        assert_eq!(reset, "https://example.org/reset-password#t1");
        let verify = settings.link(Template::VerifyEmail, "t1").unwrap();
        assert_eq!(verify, "https://app.example.org/#/v?t=t1&x=1");
    }
}
