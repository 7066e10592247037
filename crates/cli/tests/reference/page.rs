//! The page: a section for each type that a recipe can hold, from `Recipe` on.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use super::prose::{anchor, cell, paragraphs, problem, sentence, without_default};
use super::schema::{Absent, Body, Choice, Form, Key, Shape, doc, form};
use super::source::{Place, Source, Type};

/// One step from a value to one inside it.
#[derive(Clone, Debug)]
pub enum Step {
    Key(String),
    Item,
}

/// A place of a recipe and the names that it takes.
#[derive(Clone, Debug)]
pub struct Names {
    pub path: Vec<Step>,
    pub names: BTreeSet<String>,
}

/// The page's text, and all names that it lists, by place.
pub fn page(source: &Source) -> (String, Vec<Names>) {
    let place = source.place_of("Recipe");
    let mut page = Page {
        source,
        uses: HashMap::new(),
        titles: HashMap::new(),
        out: String::new(),
        names: Vec::new(),
        problems: Vec::new(),
    };
    page.count("Recipe", place);
    let recipe = source.find(place, "Recipe").expect("there is a Recipe");
    let Form::Table(sections) = form(source, recipe) else { panic!("Recipe is a table") };
    page.title(&sections, "");
    let top: BTreeSet<String> = sections.iter().map(|k| k.name.clone()).collect();
    page.names.push(Names { path: Vec::new(), names: top });
    page.out += "| section | | meaning |\n| --- | --- | --- |\n";
    for key in &sections {
        let required = if key.absent == Absent::Required { "required" } else { "optional" };
        let link = format!("[`[{0}]`](#{0})", key.name);
        writeln!(page.out, "| {link} | {required} | {} |", cell(&key.doc)).unwrap();
    }
    for key in &sections {
        page.shape(&key.shape, vec![Step::Key(key.name.clone())], 2);
    }
    assert!(page.problems.is_empty(), "improve these doc comments:\n{}", page.problems.join("\n"));
    (page.out, page.names)
}

struct Page<'a> {
    source: &'a Source,
    /// How many keys have a type.
    uses: HashMap<String, usize>,
    /// Headings by type, in the order of their first use; taken away when they are written.
    titles: HashMap<String, (String, bool)>,
    out: String,
    names: Vec<Names>,
    /// Doc comments that a reader of the page would not understand.
    problems: Vec<String>,
}

/// Distinct for types of one name in different files.
fn id(place: Place, name: &str) -> String {
    format!("{name}@{}", place.file)
}

impl Page<'_> {
    fn form(&self, place: Place, name: &str) -> (&Type, Form) {
        let found = self.source.find(place, name).expect("found before");
        (found, form(self.source, found))
    }

    fn count(&mut self, name: &str, place: Place) {
        let uses = self.uses.entry(id(place, name)).or_default();
        *uses += 1;
        if *uses > 1 {
            return;
        }
        let (_, form) = self.form(place, name);
        each_shape(&form, &mut |shape, _| {
            each_named(shape, &mut |place, name| self.count(name, place));
        });
    }

    /// Gives the types below these keys their headings: a type that one key has is called by that
    /// key, another by its own name.
    fn title(&mut self, keys: &[Key], prefix: &str) {
        for key in keys {
            let path = match prefix {
                "" => key.name.clone(),
                prefix => format!("{prefix}.{}", key.name),
            };
            each_named(&key.shape, &mut |place, name| self.title_of(place, name, &path));
        }
    }

    fn title_of(&mut self, place: Place, name: &str, path: &str) {
        let id = id(place, name);
        if self.titles.contains_key(&id) {
            return;
        }
        let alone = self.uses[&id] == 1;
        let title = if alone { format!("`{path}`") } else { words(name) };
        assert!(self.titles.values().all(|(t, _)| *t != title), "two sections are called {title}");
        self.titles.insert(id, (title, false));
        match self.form(place, name).1 {
            Form::Table(keys) => self.title(&keys, path),
            Form::Choice { choices, .. } => {
                for choice in choices {
                    match &choice.body {
                        Body::Table(keys) => self.title(keys, &choice.name),
                        Body::Value(shape) => each_named(shape, &mut |place, name| {
                            self.title_of(place, name, &format!("{path}.{}", choice.name));
                        }),
                        Body::Name => {}
                    }
                }
            }
            Form::Words => {}
        }
    }

    /// The sections of the types in a shape that have none yet.
    fn shape(&mut self, shape: &Shape, path: Vec<Step>, level: usize) {
        match shape {
            Shape::Words(_) => {}
            Shape::Named(place, name) => self.section(*place, name, path, level),
            Shape::Array(inner) => self.shape(inner, [path, vec![Step::Item]].concat(), level),
            Shape::Map(inner) => {
                self.shape(inner, [path, vec![Step::Key("name".into())]].concat(), level);
            }
            Shape::Or(shapes) => {
                shapes.iter().for_each(|shape| self.shape(shape, path.clone(), level));
            }
        }
    }

    fn section(&mut self, place: Place, name: &str, path: Vec<Step>, level: usize) {
        let (title, written) = self.titles.get_mut(&id(place, name)).expect("all have titles");
        if std::mem::replace(written, true) {
            return;
        }
        let title = title.clone();
        let (found, form) = self.form(place, name);
        let about = paragraphs(&doc(&found.attributes));
        let heading =
            if level == 2 { format!("`[{}]`", title.trim_matches('`')) } else { title.clone() };
        write!(self.out, "\n{} {heading}\n", "#".repeat(level)).unwrap();
        if level > 2 && about.contains(' ') {
            write!(self.out, "\n{about}\n").unwrap();
        }
        match &form {
            Form::Table(keys) => {
                self.out += "\n";
                self.keys(&title, keys);
                self.names.push(Names { path: path.clone(), names: all_names(keys) });
            }
            Form::Choice { choices, by_name, number } => {
                self.choices(&title, choices, *by_name, *number);
                let names = choices.iter().flat_map(|c| [&c.name].into_iter().chain(&c.aliases));
                self.names.push(Names { path: path.clone(), names: names.cloned().collect() });
                self.tables(&title, choices, &path);
            }
            Form::Words => {}
        }
        self.below(&form, &path);
    }

    /// A sub-section for each choice that has keys.
    fn tables(&mut self, title: &str, choices: &[Choice], path: &[Step]) {
        for choice in choices {
            let Body::Table(keys) = &choice.body else { continue };
            if keys.is_empty() {
                continue;
            }
            write!(
                self.out,
                "\n#### {title}: `{}`\n\n{}\n\n",
                choice.name,
                paragraphs(&choice.doc)
            )
            .unwrap();
            self.keys(title, keys);
            let path = [path, &[Step::Key(choice.name.clone())]].concat();
            self.names.push(Names { path, names: all_names(keys) });
        }
    }

    /// The sections of the types that a form's keys have.
    fn below(&mut self, form: &Form, path: &[Step]) {
        each_shape(form, &mut |shape, steps| {
            let path = [path, steps].concat();
            self.shape(shape, path, 3);
        });
    }

    fn keys(&mut self, title: &str, keys: &[Key]) {
        self.out += "| key | type | default | meaning |\n| --- | --- | --- | --- |\n";
        for key in keys {
            let (default, meaning) = match self.default_of(key) {
                Ok(both) => both,
                Err(problem) => {
                    self.problems.push(format!("{title} {}: {problem}: {}", key.name, key.doc));
                    continue;
                }
            };
            writeln!(
                self.out,
                "| `{}`{} | {} | {default} | {} |",
                key.name,
                also(&key.aliases),
                self.type_of(&key.shape),
                cell(&sentence(&meaning))
            )
            .unwrap();
        }
    }

    /// The default and the meaning of a key, or what is wrong with its doc comment.
    fn default_of(&self, key: &Key) -> Result<(String, String), String> {
        if let Some(link) = problem(&key.doc) {
            return Err(format!("{link} is a name of the code"));
        }
        let says = ["default", "left out", "leave it out", "not given"];
        let says = says.iter().any(|word| key.doc.to_lowercase().contains(word));
        let (default, meaning) = match &key.absent {
            Absent::Required => ("required".to_owned(), key.doc.clone()),
            Absent::Unset | Absent::Said if !says => {
                return Err("does not say what holds by default".into());
            }
            Absent::Unset => ("not set".to_owned(), key.doc.clone()),
            Absent::Said => ("see meaning".to_owned(), key.doc.clone()),
            Absent::Nested => ("all defaults".to_owned(), key.doc.clone()),
            Absent::Value(value) => {
                let meaning = without_default(&key.doc, value)?;
                (format!("`{value}`{}", binary(&key.name, value)), meaning)
            }
        };
        match meaning.is_empty() {
            true => Err("says no meaning".into()),
            false => Ok((default, meaning)),
        }
    }

    fn choices(&mut self, title: &str, choices: &[Choice], by_name: bool, number: bool) {
        let all_by_default = |keys: &[Key]| {
            !keys.is_empty() && keys.iter().all(|key| key.absent != Absent::Required)
        };
        let with_table =
            choices.iter().find(|c| matches!(&c.body, Body::Table(k) if all_by_default(k)));
        if by_name && let Some(example) = with_table {
            let name = &example.name;
            writeln!(
                self.out,
                "\n{}A name alone stands for a table with all defaults: `\"{name}\"` is `{{ {name} = {{}} }}`.",
                if number { "A number stands for `{ constant = { start = NUMBER } }`. " } else { "" }
            )
            .unwrap();
        }
        self.out += "\n| written | meaning |\n| --- | --- |\n";
        for choice in choices {
            let name = &choice.name;
            let table = |inner: &str| format!("`{{ {name} = {inner} }}`");
            let written = match &choice.body {
                Body::Name => format!("`\"{name}\"`"),
                Body::Value(shape) => format!("{}: {}", table("..."), self.type_of(shape)),
                Body::Table(keys) => {
                    let required = keys.iter().any(|k| k.absent == Absent::Required);
                    let full = match keys.is_empty() {
                        true => table("{}"),
                        false => format!(
                            "[{}](#{})",
                            table("{ ... }"),
                            anchor(&format!("{title}: {name}"))
                        ),
                    };
                    match (by_name, required, keys.is_empty()) {
                        (true, _, true) => format!("`\"{name}\"`"),
                        (true, false, false) => format!("`\"{name}\"` or {full}"),
                        _ => full,
                    }
                }
            };
            writeln!(
                self.out,
                "| {written}{} | {} |",
                also(&choice.aliases),
                cell(&sentence(&choice.doc))
            )
            .unwrap();
        }
    }

    fn type_of(&self, shape: &Shape) -> String {
        match shape {
            Shape::Words(words) => words.clone(),
            Shape::Named(place, name) => {
                let (title, _) = &self.titles[&id(*place, name)];
                let kind = match self.form(*place, name).1 {
                    Form::Table(_) => "table",
                    Form::Choice { number: true, .. } => "number, name or table",
                    Form::Choice { by_name: true, .. } => "name or table",
                    Form::Choice { choices, .. } => {
                        let names = choices.iter().filter(|c| matches!(c.body, Body::Name)).count();
                        match names {
                            0 => "table",
                            n if n == choices.len() => "name",
                            _ => "name or table",
                        }
                    }
                    Form::Words => "value",
                };
                format!("{kind}: [{title}](#{})", anchor(title))
            }
            Shape::Array(inner) => format!("array of {}", plural(&self.type_of(inner))),
            Shape::Map(inner) => format!("table by name, each a {}", self.type_of(inner)),
            Shape::Or(shapes) => match &shapes[..] {
                [one, Shape::Array(of)] if **of == *one => {
                    format!("{}, or an array of these", self.type_of(one))
                }
                shapes => {
                    let shapes: Vec<String> = shapes.iter().map(|s| self.type_of(s)).collect();
                    shapes.join(", or ")
                }
            },
        }
    }
}

/// `table: [Layer]` as `tables: [Layer]`, `integer or string` as `integers or strings`.
fn plural(kind: &str) -> String {
    let (kind, rest) = kind.split_at(kind.find(':').unwrap_or(kind.len()));
    let word = |word: &str| match word.trim_end_matches(',') {
        "table" | "name" | "string" | "number" | "integer" => word.replacen(
            word.trim_end_matches(','),
            &format!("{}s", word.trim_end_matches(',')),
            1,
        ),
        _ => word.to_owned(),
    };
    kind.split(' ').map(word).collect::<Vec<_>>().join(" ") + rest
}

/// A key's name and its other names.
fn also(aliases: &[String]) -> String {
    match aliases {
        [] => String::new(),
        aliases => {
            let aliases: Vec<String> = aliases.iter().map(|a| format!("`{a}`")).collect();
            format!(" (also {})", aliases.join(", "))
        }
    }
}

fn all_names(keys: &[Key]) -> BTreeSet<String> {
    keys.iter().flat_map(|k| [&k.name].into_iter().chain(&k.aliases)).cloned().collect()
}

/// ` (16 MiB)`
fn binary(key: &str, value: &str) -> String {
    let Some(bytes) = value.parse::<u64>().ok().filter(|_| key.ends_with("bytes")) else {
        return String::new();
    };
    match (bytes >> 20, bytes >> 30) {
        (_, g) if g > 0 && bytes == g << 30 => format!(" ({g} GiB)"),
        (m, _) if m > 0 && bytes == m << 20 => format!(" ({m} MiB)"),
        _ => String::new(),
    }
}

/// The shapes of a form's keys, with the steps to each.
fn each_shape(form: &Form, visit: &mut dyn FnMut(&Shape, &[Step])) {
    match form {
        Form::Table(keys) => {
            keys.iter().for_each(|key| visit(&key.shape, &[Step::Key(key.name.clone())]));
        }
        Form::Choice { choices, .. } => {
            for choice in choices {
                let own = Step::Key(choice.name.clone());
                match &choice.body {
                    Body::Table(keys) => keys.iter().for_each(|key| {
                        visit(&key.shape, &[own.clone(), Step::Key(key.name.clone())]);
                    }),
                    Body::Value(shape) => visit(shape, &[own]),
                    Body::Name => {}
                }
            }
        }
        Form::Words => {}
    }
}

fn each_named(shape: &Shape, visit: &mut dyn FnMut(Place, &str)) {
    match shape {
        Shape::Words(_) => {}
        Shape::Named(place, name) => visit(*place, name),
        Shape::Array(inner) | Shape::Map(inner) => each_named(inner, visit),
        Shape::Or(shapes) => shapes.iter().for_each(|shape| each_named(shape, visit)),
    }
}

/// `ScheduleSpec` as `Schedule`, `FanMode` as `Fan mode`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.trim_end_matches("Spec").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
            words.push(c.to_ascii_lowercase());
        } else {
            words.push(c);
        }
    }
    words
}
