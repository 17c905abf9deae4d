//! Posts and the rules for their content. No I/O.

use std::collections::HashSet;
use std::fmt;

use blocks::FieldErrors;
use chrono::{DateTime, Utc};
use events::posts::{PostCreated, PostDeleted, PostUpdated};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The limits of a post, in Unicode characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest title.
    pub title: usize,
    /// The longest content.
    pub content: usize,
    /// The most tags, duplicates counted.
    pub tags: usize,
    /// The longest tag.
    pub tag: usize,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        title: 200,
        content: 20_000,
        tags: 20,
        tag: 50,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The account's number.
    pub id: i64,
    pub name: String,
}

/// The id of a post. Ids sort by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostId(Uuid);

impl PostId {
    /// Reads an id as addresses have it; `None` for a text that can't be the id of a post.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser also takes braces, `urn:uuid:` and bare digits, which are no addresses of ours.
        let id = Uuid::try_parse(text).ok()?;
        (text.len() == Hyphenated::LENGTH).then_some(Self(id))
    }

    /// As stores and events have it.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for PostId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A tag, normalised: `" Rust "` and `"rust"` are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    /// Normalises a tag for storing and searching.
    ///
    /// # Errors
    /// Says why no post can have it.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, String> {
        let tag = text.trim().to_lowercase();
        if tag.is_empty() {
            return Err("must not be blank".to_owned());
        }
        match too_long(&tag, limits.tag) {
            Some(why) => Err(why),
            None => Ok(Self(tag)),
        }
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The normalised texts of `tags`.
    pub fn texts(tags: &[Self]) -> Vec<String> {
        tags.iter().map(|tag| tag.0.clone()).collect()
    }
}

/// A published post that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its id: ids sort by creation time.
    pub id: Uuid,
    /// The author, with the current name.
    pub author: Author,
    /// The title, without blanks around it.
    pub title: String,
    /// The content as it was written: data, never interpreted.
    pub content: String,
    /// The tags, in the author's order.
    pub tags: Vec<Tag>,
    /// When it was published.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Counts its events: 1 when it is created.
    pub version: i64,
}

/// A post to publish, checked against the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    title: String,
    content: String,
    tags: Vec<Tag>,
}

/// The changes of a post, checked against the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    title: Option<String>,
    content: Option<String>,
    tags: Option<Vec<Tag>>,
}

impl Draft {
    /// Checks a post to publish.
    ///
    /// # Errors
    /// Names each field that breaks a rule.
    pub fn new(
        title: &str,
        content: String,
        tags: &[String],
        limits: &Limits,
    ) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let title = check_title(title, limits, &mut errors);
        check_content(&content, limits, &mut errors);
        let tags = check_tags(tags, limits, &mut errors);
        errors.into_result()?;
        Ok(Self {
            title,
            content,
            tags,
        })
    }

    /// The title, the content and the tags: requests with equal parts are the same.
    pub fn parts(&self) -> (&str, &str, &[Tag]) {
        (&self.title, &self.content, &self.tags)
    }

    /// Makes the post and its event.
    pub fn publish(self, id: Uuid, author: Author, at: DateTime<Utc>) -> (Post, PostCreated) {
        let post = Post {
            id,
            author,
            title: self.title,
            content: self.content,
            tags: self.tags,
            created_at: at,
            updated_at: at,
            version: 1,
        };
        let event = post.created();
        (post, event)
    }
}

impl Changes {
    /// Checks changes; `None` leaves a field as it is.
    ///
    /// # Errors
    /// Names each field that breaks a rule, after those in `errors`.
    pub fn new(
        title: Option<String>,
        content: Option<String>,
        tags: Option<Vec<String>>,
        limits: &Limits,
        mut errors: FieldErrors,
    ) -> Result<Self, FieldErrors> {
        let title = title.map(|title| check_title(&title, limits, &mut errors));
        if let Some(content) = &content {
            check_content(content, limits, &mut errors);
        }
        let tags = tags.map(|tags| check_tags(&tags, limits, &mut errors));
        errors.into_result()?;
        Ok(Self {
            title,
            content,
            tags,
        })
    }
}

impl Post {
    /// The next version of the post and its event; `None` when nothing would change.
    pub fn change(&self, changes: Changes, at: DateTime<Utc>) -> Option<(Self, PostUpdated)> {
        let next = Self {
            title: changes.title.unwrap_or_else(|| self.title.clone()),
            content: changes.content.unwrap_or_else(|| self.content.clone()),
            tags: changes.tags.unwrap_or_else(|| self.tags.clone()),
            ..self.clone()
        };
        if next == *self {
            return None;
        }
        // A clock that went back must not make a post older than it was.
        let updated_at = at.max(self.updated_at);
        let post = Self {
            updated_at,
            version: self.version + 1,
            ..next
        };
        let event = post.updated();
        Some((post, event))
    }

    /// The event of its publication, when this is its first version.
    pub fn created(&self) -> PostCreated {
        PostCreated {
            post_id: self.id,
            user_id: self.author.id,
            username: self.author.name.clone(),
            title: self.title.clone(),
            content: self.content.clone(),
            tags: Tag::texts(&self.tags),
            created_at: self.created_at,
        }
    }

    /// The event of the change that made this version.
    pub fn updated(&self) -> PostUpdated {
        PostUpdated {
            post_id: self.id,
            user_id: self.author.id,
            username: self.author.name.clone(),
            title: self.title.clone(),
            content: self.content.clone(),
            tags: Tag::texts(&self.tags),
            created_at: self.created_at,
        }
    }

    /// The event of its deletion.
    pub fn deleted(&self) -> PostDeleted {
        deleted(self.id, self.author.id)
    }
}

/// The event of a deletion of which a store knows no more than the ids.
pub fn deleted(post_id: Uuid, user_id: i64) -> PostDeleted {
    PostDeleted { post_id, user_id }
}

fn check_title(title: &str, limits: &Limits, errors: &mut FieldErrors) -> String {
    let title = title.trim();
    if title.is_empty() {
        errors.add("title", "must not be blank");
    }
    check_length("title", title, limits.title, errors);
    title.to_owned()
}

fn check_content(content: &str, limits: &Limits, errors: &mut FieldErrors) {
    if content.is_empty() {
        errors.add("content", "must not be empty");
    }
    check_length("content", content, limits.content, errors);
}

fn check_tags(tags: &[String], limits: &Limits, errors: &mut FieldErrors) -> Vec<Tag> {
    // Stops here: an error for each tag would make the answer longer than the request.
    if tags.len() > limits.tags {
        let most = limits.tags;
        errors.add("tags", format!("must not have more than {most} entries"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut normalised = Vec::new();
    for (place, tag) in tags.iter().enumerate() {
        match Tag::parse(tag, limits) {
            Ok(tag) if seen.insert(tag.clone()) => normalised.push(tag),
            Ok(_) => {}
            Err(why) => errors.add(&format!("tags[{place}]"), why),
        }
    }
    normalised
}

fn check_length(field: &str, text: &str, most: usize, errors: &mut FieldErrors) {
    if let Some(why) = too_long(text, most) {
        errors.add(field, why);
    }
}

fn too_long(text: &str, most: usize) -> Option<String> {
    let is_longer = text.chars().nth(most).is_some();
    is_longer.then(|| format!("must not be longer than {most} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(title: &str, content: &str, tags: &[&str]) -> Result<Draft, FieldErrors> {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Draft::new(title, content.to_owned(), &tags, &Limits::default())
    }

    fn complaints(refused: &FieldErrors) -> Vec<String> {
        refused.iter().map(|(field, _)| field.to_owned()).collect()
    }

    fn post() -> Post {
        let author = Author {
            id: 7,
            name: "ada".into(),
        };
        let at = DateTime::from_timestamp_millis(1_767_268_800_000).unwrap();
        draft("Hello", "World", &["a"])
            .unwrap()
            .publish(Uuid::from_u128(1), author, at)
            .0
    }

    #[test]
    fn each_limit_is_kept_to_the_character() {
        let Limits {
            title,
            content,
            tags,
            tag,
        } = Limits::default();
        // An umlaut is one character and two bytes.
        assert!(
            draft(
                &"ä".repeat(title),
                &"ä".repeat(content),
                &[&"ä".repeat(tag)]
            )
            .is_ok()
        );
        let refused = draft(
            &"ä".repeat(title + 1),
            &"ä".repeat(content + 1),
            &[&"ä".repeat(tag + 1)],
        );
        assert_eq!(
            complaints(&refused.unwrap_err()),
            ["content", "tags[0]", "title"]
        );
        let many: Vec<String> = (0..=tags).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(draft("t", "c", &many[..tags]).is_ok());
        assert_eq!(complaints(&draft("t", "c", &many).unwrap_err()), ["tags"]);
        assert!(draft("t", "c", &vec!["same"; tags]).is_ok());
    }

    #[test]
    fn too_many_tags_are_one_complaint_whatever_they_are() {
        for tag in ["", "same"] {
            let refused = draft("t", "c", &vec![tag; 100_000]).unwrap_err();
            assert_eq!(complaints(&refused), ["tags"]);
        }
    }

    #[test]
    fn blanks_are_no_title_and_no_tag_but_content_is_kept_as_written() {
        let refused = draft(" \t\n", "", &["  "]).unwrap_err();
        assert_eq!(complaints(&refused), ["content", "tags[0]", "title"]);
        let draft = draft("  Hello ", "  <b>&amp;\r\n", &[]).unwrap();
        assert_eq!(draft.parts(), ("Hello", "  <b>&amp;\r\n", &[][..]));
    }

    #[test]
    fn tags_are_normalised_and_keep_their_order() {
        let draft = draft("t", "c", &[" Zebra", "apple", "ZEBRA ", "Äpfel"]).unwrap();
        assert_eq!(Tag::texts(draft.parts().2), ["zebra", "apple", "äpfel"]);
    }

    #[test]
    fn a_change_makes_the_next_version_and_the_same_again_makes_none() {
        let limits = Limits::default();
        let post = post();
        let later = post.created_at + chrono::TimeDelta::seconds(1);
        let change = |title: Option<&str>| {
            Changes::new(
                title.map(str::to_owned),
                None,
                None,
                &limits,
                FieldErrors::default(),
            )
            .unwrap()
        };
        assert_eq!(post.change(change(None), later), None);
        assert_eq!(post.change(change(Some(" Hello")), later), None);
        let (changed, event) = post.change(change(Some("Bye")), later).unwrap();
        assert_eq!((changed.version, changed.updated_at), (2, later));
        assert_eq!(
            (event.title.as_str(), event.content.as_str()),
            ("Bye", "World")
        );
        assert_eq!(event.created_at, post.created_at);
        let before = post.created_at - chrono::TimeDelta::seconds(1);
        let (changed, _) = post.change(change(Some("Bye")), before).unwrap();
        assert_eq!(changed.updated_at, post.updated_at);
    }
}
