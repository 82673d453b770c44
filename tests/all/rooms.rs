//! The map in CONTRIBUTING.md: every import in the code is one of its arrows, and every arrow is an import.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Tests may import anything.
        if path.is_dir() && name != "tests" {
            files(&path, found);
        } else if name.ends_with(".rs") && !["tests.rs", "naive.rs"].contains(&name.as_str()) {
            found.push(path);
        }
    }
}

/// The rooms that a file imports: `crate::room…`, and each of `crate::{room…, other…}`.
fn imported(text: &str) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]").next().unwrap();
    let lines = product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let product: String = lines.collect::<Vec<_>>().join("\n");
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for after in product.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => {
                found.insert(name(after));
            }
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(name(&item));
                            item.clear();
                        }
                        c if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                found.insert(name(&item));
            }
        }
    }
    found
}

#[test]
fn the_map_is_what_the_code_imports() {
    let src = root().join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let room = |path: &Path| {
        let first = path
            .strip_prefix(&src)
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let rooms: BTreeSet<String> = all.iter().map(|path| room(path)).collect();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &all {
        let own = room(path);
        if own == "lib" {
            continue;
        }
        let imports = imported(&std::fs::read_to_string(path).unwrap());
        let others = imports
            .into_iter()
            .filter(|other| rooms.contains(other) && *other != own);
        arrows.entry(own.clone()).or_default().extend(others);
    }
    let page = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, map) = page.split_once("```map\n").unwrap();
    let (map, _) = map.split_once("```").unwrap();
    let mut drawn: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for line in map.lines() {
        let (from, to) = line.split_once('→').unwrap_or((line, ""));
        let to: BTreeSet<String> = to.split_whitespace().map(str::to_owned).collect();
        // From the top down: no arrow leads back up.
        for other in &to {
            assert!(
                !above.contains(other.as_str()),
                "{from} imports {other}, which stands above it"
            );
        }
        above.insert(from.trim());
        drawn.insert(from.trim().to_owned(), to);
    }
    arrows.remove("main");
    assert_eq!(arrows, drawn, "draw the map in CONTRIBUTING.md anew");
}
