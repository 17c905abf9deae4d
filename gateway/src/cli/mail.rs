//! `rookery mail`.

use anyhow::{Context, ensure};
use auth::mails::{MailSettings, Template, templates};
use blocks::config::Config;
use blocks::{Clock, SystemClock};
use clap::Subcommand;
use mail::Language;

use super::say;

#[derive(Debug, Subcommand)]
pub(super) enum Mail {
    /// Print a mail as accounts get it; without a template the names of all
    #[command(after_help = "\
Examples:
  rookery mail preview
  rookery mail preview reset_password --language de
  rookery mail preview invite --html > invite.html")]
    Preview {
        /// Its name
        template: Option<String>,
        /// `en` or `de` [`MAIL_LANGUAGE`]
        #[arg(long)]
        language: Option<String>,
        /// The HTML form
        #[arg(long)]
        html: bool,
    },
    /// Send a mail by the way that the settings name
    #[command(after_help = "\
Example:
  rookery mail test ada@example.org")]
    Test {
        /// Where to
        address: String,
    },
}

pub(super) async fn run(config: &Config, command: Mail) -> anyhow::Result<()> {
    match command {
        Mail::Preview {
            template,
            language,
            html,
        } => preview(config, template.as_deref(), language.as_deref(), html),
        Mail::Test { address } => test(config, address).await,
    }
}

fn preview(
    config: &Config,
    template: Option<&str>,
    language: Option<&str>,
    html: bool,
) -> anyhow::Result<()> {
    let Some(name) = template else {
        return Template::ALL.iter().try_for_each(|of| say(of.name()));
    };
    let names = Template::ALL.map(Template::name).join(", ");
    let template = Template::parse(name)
        .with_context(|| format!("there is no template {name:?}; there are {names}"))?;
    let language = match language {
        Some(code) => Language::parse(code)
            .with_context(|| format!("no mail is written in {code:?}; `en` and `de` are known"))?,
        None => config.get(&mail::MAIL_LANGUAGE),
    };
    let settings = MailSettings::read(config)?;
    let link = settings.link(template, "a-token");
    let who = (settings.site.as_str(), "ada", link.as_deref());
    let content = template.render(&templates()?, language, who)?;
    if html {
        return say(content.html.trim_end());
    }
    say(format!(
        "Subject: {}\n\n{}",
        content.subject,
        content.text.trim_end()
    ))
}

async fn test(config: &Config, to: String) -> anyhow::Result<()> {
    let settings = MailSettings::read(config)?;
    ensure!(
        settings.mailer.delivers(),
        "neither SMTP_URL nor SENDGRID_API_KEY is set: mails go to the log"
    );
    let text = format!("This is a test mail from {}. Mails arrive.", settings.site);
    let mail = mail::Mail {
        id: SystemClock.id(),
        to,
        content: mail::Content {
            subject: format!("A test mail from {}", settings.site),
            html: format!("<p>{}</p>", text.replace('&', "&amp;").replace('<', "&lt;")),
            text,
        },
    };
    settings.mailer.send(&mail).await?;
    say(format!("It was taken, with the id {}.", mail.id))
}
