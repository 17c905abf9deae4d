//! The lines of a file between two markers.
//!
//! A marker is a comment of the file's own kind. The first one ends in `made by rookery generate: NAME` (in
//! Markdown with `-->` behind it), the second one has `end of what is made` in it.

/// Lines that are made, in a file that is otherwise written by hand.
pub(super) struct Block {
    pub path: &'static str,
    pub name: &'static str,
    /// Without a line end behind the last line.
    pub text: String,
}

const END: &str = "end of what is made";

/// `file` with `text` between the markers of `name`; `None` where it has none.
pub(super) fn replaced(file: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("made by rookery generate: {name}");
    let is_begin = |line: &str| line.trim_end_matches(" -->").ends_with(&begin);
    let mut lines = file.lines();
    let mut new: Vec<&str> = Vec::new();
    loop {
        let line = lines.next()?;
        new.push(line);
        if is_begin(line) {
            break;
        }
    }
    new.extend(text.lines());
    new.push(lines.find(|line| line.contains(END))?);
    new.extend(lines);
    Some(new.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_markers_of_a_name_is_replaced_and_nothing_else() {
        let file = "a\n# made by rookery generate: one\nold\nolder\n# end of what is made\n\
                    <!-- made by rookery generate: two -->\n<!-- end of what is made -->\nz\n";
        let new = replaced(file, "one", "new").unwrap();
        let new = replaced(&new, "two", "| a |\n| b |").unwrap();
        assert_eq!(
            new,
            "a\n# made by rookery generate: one\nnew\n# end of what is made\n\
             <!-- made by rookery generate: two -->\n| a |\n| b |\n<!-- end of what is made -->\nz\n"
        );
        assert_eq!(replaced(file, "three", "new"), None);
        assert_eq!(
            replaced("# made by rookery generate: one\n", "one", "new"),
            None
        );
    }
}
