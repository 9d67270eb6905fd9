//! Holds the rules of `deny.toml` over the whole dependency tree.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use spdx::{Expression, Licensee, ParseMode};

fn metadata() -> Metadata {
    MetadataCommand::new().exec().expect("cargo metadata")
}

fn rules(metadata: &Metadata) -> toml::Table {
    let text = std::fs::read_to_string(metadata.workspace_root.join("deny.toml")).expect("deny.toml");
    text.parse().expect("deny.toml")
}

/// The licences of a list.
fn licensees(names: &toml::Value) -> Vec<Licensee> {
    let names = names.as_array().expect("a list").iter();
    names.map(|name| Licensee::parse(name.as_str().expect("a licence")).expect("an SPDX licence")).collect()
}

fn outside(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id))
}

#[test]
fn licences_are_among_those_allowed() {
    let metadata = metadata();
    let rules = rules(&metadata);
    let allowed = licensees(&rules["licenses"]["allow"]);
    let exceptions: Vec<(&str, Vec<Licensee>)> = rules["licenses"]["exceptions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rule| (rule["crate"].as_str().expect("a name"), licensees(&rule["allow"])))
        .collect();
    for package in outside(&metadata) {
        let licence =
            package.license.as_deref().unwrap_or_else(|| panic!("{} names no licence", package.name));
        let expression = Expression::parse_mode(licence, ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{}: {licence}: {error}", package.name));
        let own = exceptions.iter().filter(|(name, _)| *name == package.name.as_str());
        let allowed: Vec<&Licensee> = allowed.iter().chain(own.flat_map(|(_, more)| more)).collect();
        let holds = expression.evaluate(|needed| allowed.iter().any(|licensee| licensee.satisfies(needed)));
        assert!(holds, "{} {}: {licence} is not allowed by deny.toml", package.name, package.version);
    }
}

#[test]
fn everything_comes_from_the_registry() {
    let metadata = metadata();
    for package in outside(&metadata) {
        let source = package.source.as_ref().unwrap_or_else(|| panic!("{} has no source", package.name));
        assert!(source.is_crates_io(), "{} comes from {source}", package.name);
    }
}

#[test]
fn banned_crates_and_open_versions_are_absent() {
    let metadata = metadata();
    let rules = rules(&metadata);
    let banned: Vec<&str> = rules["bans"]["deny"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rule| rule["crate"].as_str().expect("a name"))
        .collect();
    assert!(!banned.is_empty());
    for package in outside(&metadata) {
        assert!(!banned.contains(&package.name.as_str()), "{} is banned by deny.toml", package.name);
    }
    for member in metadata.workspace_packages() {
        let open = |d: &&cargo_metadata::Dependency| d.req.to_string() == "*" && d.path.is_none();
        let found = member.dependencies.iter().filter(|d| d.kind != DependencyKind::Unknown).find(open);
        assert!(found.is_none(), "{} takes any version of {}", member.name, found.map_or("", |d| &d.name));
    }
}
