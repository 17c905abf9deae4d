//! Templates of mails. A template is written once a language, as blocks: `subject`, `greeting`, `before`, `action`,
//! `after`. Layouts make the subject, the text and the HTML of them; only in the HTML are values escaped.

use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::{Content, Language};

/// A template in a language: its name, the language, and the text, which begins with `{% extends layout %}`.
pub type Source = (&'static str, Language, &'static str);

const LAYOUTS: [(&str, &str); 3] = [
    ("layout.subject", "{% block subject %}{% endblock %}"),
    ("layout.txt", include_str!("../templates/layout.txt")),
    ("layout.html", include_str!("../templates/layout.html")),
];

/// All templates of a service.
#[derive(Debug)]
pub struct Templates(Environment<'static>);

impl Templates {
    /// Takes `sources`.
    ///
    /// # Errors
    /// When one of them can't be read.
    pub fn new(sources: &[Source]) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in LAYOUTS {
            environment.add_template(name, source)?;
        }
        for (name, language, source) in sources {
            // What is escaped is decided by the end of the name.
            for form in ["txt", "html"] {
                let name = format!("{name}.{}.{form}", language.code());
                environment.add_template_owned(name, *source)?;
            }
        }
        Ok(Self(environment))
    }

    /// The template `name` in `language` with `values`: `site`, `name`, `link` (which may be null), and its own.
    ///
    /// # Errors
    /// When there is no such template, or a value is missing.
    pub fn render(
        &self,
        name: &str,
        language: Language,
        values: &Value,
    ) -> Result<Content, minijinja::Error> {
        let render = |form: &str, layout: &str| {
            let template = format!("{name}.{}.{form}", language.code());
            let language = language.code();
            let values = context! { layout, language, ..values.clone() };
            self.0.get_template(&template)?.render(values)
        };
        let subject = render("txt", "layout.subject")?;
        Ok(Content {
            // A line break in a value must not begin another header.
            subject: subject.split_whitespace().collect::<Vec<_>>().join(" "),
            text: render("txt", "layout.txt")?,
            html: render("html", "layout.html")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "{% extends layout %}\
        {% block subject %}Hello from {{ site }}{% endblock %}\
        {% block greeting %}Dear {{ name }},{% endblock %}\
        {% block before %}please look.{% endblock %}\
        {% block action %}Look{% endblock %}\
        {% block after %}Bye.{% endblock %}";

    fn templates() -> Templates {
        Templates::new(&[("hello", Language::English, HELLO)]).unwrap()
    }

    #[test]
    fn values_are_escaped_in_html_alone_and_break_no_header() {
        let values = context! { site => "A\r\nBcc: <b>", name => "Tom & <i>", link => "https://x.org/?a=1&b=\"2\"" };
        let content = templates()
            .render("hello", Language::English, &values)
            .unwrap();
        assert_eq!(content.subject, "Hello from A Bcc: <b>");
        assert!(
            content.text.starts_with(
                "Dear Tom & <i>,\n\nplease look.\n\nhttps://x.org/?a=1&b=\"2\"\n\nBye.\n"
            ),
            "{}",
            content.text
        );
        assert!(
            content.html.contains("Dear Tom &amp; &lt;i&gt;,"),
            "{}",
            content.html
        );
        assert!(!content.html.contains("<b>") && !content.html.contains("b=\"2\""));
        assert!(content.html.contains(">Look</a>"));
    }

    #[test]
    fn without_a_link_there_is_no_button_and_a_missing_value_is_an_error() {
        let values = context! { site => "A", name => "Tom", link => () };
        let content = templates()
            .render("hello", Language::English, &values)
            .unwrap();
        assert!(!content.html.contains("<a ") && !content.text.contains("none"));
        let templates = templates();
        let missing = context! { site => "A", link => () };
        assert!(
            templates
                .render("hello", Language::English, &missing)
                .is_err()
        );
        assert!(
            templates
                .render("hello", Language::German, &values)
                .is_err()
        );
    }
}
