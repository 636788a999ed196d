//! Dynamic symbols of libraries: what other programs were linked with.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// A symbol that a library offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symbol {
    /// `function`, `object`, `thread-local`, `other`.
    pub kind: &'static str,
    /// Size in bytes, of what programs may have copied: objects.
    pub size: Option<u64>,
}

/// The symbols that a library offers, by name; an error says why it cannot be read.
pub fn symbols(library: &[u8]) -> Result<BTreeMap<String, Symbol>, String> {
    let file = object::File::parse(library).map_err(|e| e.to_string())?;
    let mut found = BTreeMap::new();
    for symbol in file.dynamic_symbols() {
        if symbol.is_undefined() || symbol.is_local() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        let kind = match symbol.kind() {
            SymbolKind::Text => "function",
            SymbolKind::Data => "object",
            SymbolKind::Tls => "thread-local",
            // Versions and sections are no symbols that a program is linked with.
            SymbolKind::Section | SymbolKind::File => continue,
            _ => "other",
        };
        let size = matches!(kind, "object" | "thread-local").then(|| symbol.size());
        if !name.is_empty() {
            found.insert(name.to_owned(), Symbol { kind, size });
        }
    }
    Ok(found)
}

/// What differs between two builds of a library, for people.
pub fn differences(old: &BTreeMap<String, Symbol>, new: &BTreeMap<String, Symbol>) -> Vec<String> {
    let text = |symbol: &Symbol| match symbol.size {
        Some(size) => format!("({}, {size} bytes)", symbol.kind),
        None => format!("({})", symbol.kind),
    };
    let texts = |symbols: &BTreeMap<String, Symbol>| -> BTreeMap<String, String> {
        symbols.iter().map(|(n, s)| (n.clone(), text(s))).collect()
    };
    super::freeze::differences(&texts(old), &texts(new), Clone::clone)
}
