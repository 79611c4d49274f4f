//! Whether a document is valid under a schema: all faults with their places, at a cost that has a bound.

use super::compile::{Rule, RuleIx, Schema, TYPES, Type};
use crate::diagnostics::Diagnostic;
use crate::document::{clip, pointers};
use crate::value::Value;
use crate::value::scan::{At, Document, Kind};
use crate::value::tree::{build, whole_number};

/// Applications of a rule to a value, beside those for each value of the document.
const UNITS: u64 = 100_000;
const UNITS_PER_SLOT: u64 = 256;
/// Rules applied within rules: twice what 128 levels of document can ask for without circles.
const NESTED_MAX: usize = 512;
/// Faults listed.
const FAULTS_MAX: usize = 100;

struct Fault {
    at: At,
    code: &'static str,
    message: String,
}

/// Why a check stops early.
struct Exhausted;

struct Checker<'c, 'a> {
    schema: &'c Schema,
    document: &'c Document<'a>,
    left: u64,
    nested: usize,
    /// Faults so far; not kept while a rule is only tried.
    faults: Vec<Fault>,
    trying: usize,
}

/// Which members or elements of a value some rule looked at.
type Marks = Option<Vec<bool>>;

impl Schema {
    /// Checks a document.
    pub(crate) fn check(&self, document: &Document<'_>) -> Result<(), Vec<Diagnostic>> {
        let left = UNITS + UNITS_PER_SLOT * document.slots.len() as u64;
        let mut checker = Checker { schema: self, document, left, nested: 0, faults: Vec::new(), trying: 0 };
        match checker.apply(0, 0, &mut None) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Exhausted) => {
                let message = "the schema asks for more checks than the limit allows".to_owned();
                return Err(vec![Diagnostic { code: "LIMIT_EXCEEDED", pointer: String::new(), message, hint: None }]);
            }
        }
        let mut faults = checker.faults;
        faults.sort_by_key(|fault| fault.at);
        let places: Vec<At> = faults.iter().map(|fault| fault.at).collect();
        let named = faults.into_iter().zip(pointers(document, &places));
        Err(named
            .map(|(fault, pointer)| Diagnostic { code: fault.code, pointer, message: fault.message, hint: None })
            .collect())
    }
}

impl Checker<'_, '_> {
    fn fault(&mut self, at: At, code: &'static str, message: impl FnOnce() -> String) -> bool {
        if self.trying == 0 && self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { at, code, message: message() });
        }
        false
    }

    fn spend(&mut self, units: u64) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(units).ok_or(Exhausted)?;
        Ok(())
    }

    /// Applies a rule; marks what it evaluated where it is valid.
    fn apply(&mut self, ix: RuleIx, at: At, marks: &mut Marks) -> Result<bool, Exhausted> {
        self.spend(1)?;
        if self.nested >= NESTED_MAX {
            return Err(Exhausted);
        }
        self.nested += 1;
        let schema = self.schema;
        let valid = self.rule(&schema.rules[ix as usize], at, marks);
        self.nested -= 1;
        valid
    }

    /// Applies a rule without keeping its faults.
    fn tries(&mut self, ix: RuleIx, at: At, marks: &mut Marks) -> Result<bool, Exhausted> {
        self.trying += 1;
        let valid = self.apply(ix, at, marks);
        self.trying -= 1;
        valid
    }

    fn fresh(&self, at: At) -> Marks {
        self.schema.tracks.then(|| {
            let count = match self.document.kind(at) {
                Kind::Object => self.document.members(at).count(),
                Kind::Array => self.document.elements(at).count(),
                _ => 0,
            };
            vec![false; count]
        })
    }

    fn rule(&mut self, rule: &Rule, at: At, outer: &mut Marks) -> Result<bool, Exhausted> {
        if rule.never {
            return Ok(self.fault(at, "BAD_VALUE", || "nothing is allowed here".to_owned()));
        }
        let kind = self.document.kind(at);
        let mut valid = self.types_and_values(rule, at, kind)?;
        let mut marks = self.fresh(at);
        match kind {
            Kind::Int | Kind::Double => valid &= self.number(rule, at),
            Kind::String => valid &= self.text(rule, at, at)?,
            Kind::Array => valid &= self.array(rule, at, &mut marks)?,
            Kind::Object => valid &= self.object(rule, at, &mut marks)?,
            _ => {}
        }
        valid &= self.in_place(rule, at, &mut marks)?;
        valid &= self.unevaluated(rule, at, kind, &mut marks)?;
        if valid {
            join(outer, marks);
        }
        Ok(valid)
    }

    fn types_and_values(&mut self, rule: &Rule, at: At, kind: Kind) -> Result<bool, Exhausted> {
        let mut valid = true;
        if let Some(types) = &rule.types {
            let is = |wanted: &Type| match wanted {
                Type::Null => kind == Kind::Null,
                Type::Boolean => matches!(kind, Kind::True | Kind::False),
                Type::Object => kind == Kind::Object,
                Type::Array => kind == Kind::Array,
                Type::Number => matches!(kind, Kind::Int | Kind::Double),
                Type::String => kind == Kind::String,
                Type::Integer => match kind {
                    Kind::Int => true,
                    Kind::Double => self.document.raw(at).parse::<f64>().is_ok_and(|number| number.fract() == 0.0),
                    _ => false,
                },
            };
            if !types.iter().any(is) {
                let names = || {
                    let name = |wanted: &Type| TYPES.iter().find(|(_, known)| known == wanted).map(|(name, _)| *name);
                    types.iter().filter_map(name).collect::<Vec<_>>().join(" or ")
                };
                valid &= self.fault(at, "WRONG_TYPE", || format!("must be {}", names()));
            }
        }
        if let Some(values) = &rule.one_of_values {
            self.spend(values.len() as u64)?;
            let value = build(self.document, at);
            if !values.iter().any(|allowed| same(allowed, &value)) {
                valid &= self.fault(at, "BAD_VALUE", || {
                    let shown: Vec<String> = values.iter().take(10).map(json).collect();
                    format!("must be {}", shown.join(" or "))
                });
            }
        }
        Ok(valid)
    }

    fn number(&mut self, rule: &Rule, at: At) -> bool {
        let value = build(self.document, at);
        let mut valid = true;
        let mut bound = |limit: &Option<Value>, holds: fn(std::cmp::Ordering) -> bool, words: &str| {
            let Some(limit) = limit else { return };
            if !compare(&value, limit).is_some_and(holds) {
                valid &= self.fault(at, "BAD_VALUE", || format!("must be {words} {}", json(limit)));
            }
        };
        bound(&rule.maximum, std::cmp::Ordering::is_le, "at most");
        bound(&rule.exclusive_maximum, std::cmp::Ordering::is_lt, "less than");
        bound(&rule.minimum, std::cmp::Ordering::is_ge, "at least");
        bound(&rule.exclusive_minimum, std::cmp::Ordering::is_gt, "more than");
        if let Some(of) = &rule.multiple_of
            && !is_multiple(&value, of)
        {
            valid &= self.fault(at, "BAD_VALUE", || format!("must be a multiple of {}", json(of)));
        }
        valid
    }

    /// Checks a string, or the name of a member, and says so at `place`.
    fn text(&mut self, rule: &Rule, at: At, place: At) -> Result<bool, Exhausted> {
        let mut valid = true;
        if rule.max_length.is_none() && rule.min_length.is_none() && rule.pattern.is_none() {
            return Ok(true);
        }
        let text = self.document.string(at);
        let length = text.chars().count() as u64;
        if let Some(most) = rule.max_length.filter(|most| length > *most) {
            valid &= self.fault(place, "BAD_VALUE", || format!("must have at most {most} characters"));
        }
        if let Some(least) = rule.min_length.filter(|least| length < *least) {
            valid &= self.fault(place, "BAD_VALUE", || format!("must have at least {least} characters"));
        }
        if let Some(pattern) = &rule.pattern {
            self.spend(text.len() as u64 * pattern.as_str().len() as u64 / 4_096)?;
            if !pattern.is_match(&text) {
                valid &=
                    self.fault(place, "BAD_VALUE", || format!("must match the pattern {:?}", clip(pattern.as_str())));
            }
        }
        Ok(valid)
    }

    fn size(&mut self, at: At, count: usize, least: Option<u64>, most: Option<u64>, what: &str) -> bool {
        let count = count as u64;
        let mut valid = true;
        if let Some(most) = most.filter(|most| count > *most) {
            valid &= self.fault(at, "BAD_VALUE", || format!("must have at most {most} {what}"));
        }
        if let Some(least) = least.filter(|least| count < *least) {
            valid &= self.fault(at, "BAD_VALUE", || format!("must have at least {least} {what}"));
        }
        valid
    }

    fn array(&mut self, rule: &Rule, at: At, marks: &mut Marks) -> Result<bool, Exhausted> {
        let elements: Vec<At> = self.document.elements(at).collect();
        let mut valid = self.size(at, elements.len(), rule.min_items, rule.max_items, "items");
        for (place, &element) in elements.iter().enumerate() {
            let Some(&ix) = rule.prefix_items.get(place).or(rule.items.as_ref()) else { break };
            valid &= self.apply(ix, element, &mut None)?;
            mark(marks, place);
        }
        if let Some(ix) = rule.contains {
            let mut found = 0_u64;
            for (place, &element) in elements.iter().enumerate() {
                if self.tries(ix, element, &mut None)? {
                    found += 1;
                    mark(marks, place);
                }
            }
            let least = rule.min_contains.unwrap_or(1);
            if found < least {
                valid &= self.fault(at, "BAD_VALUE", || format!("must hold at least {least} items of the kind asked"));
            }
            if let Some(most) = rule.max_contains.filter(|most| found > *most) {
                valid &= self.fault(at, "BAD_VALUE", || format!("must hold at most {most} items of the kind asked"));
            }
        }
        if rule.unique_items {
            let mut keys: Vec<Vec<u8>> = elements.iter().map(|&element| key(&build(self.document, element))).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                valid &= self.fault(at, "BAD_VALUE", || "must not hold an item twice".to_owned());
            }
        }
        Ok(valid)
    }

    fn object(&mut self, rule: &Rule, at: At, marks: &mut Marks) -> Result<bool, Exhausted> {
        let document = self.document;
        let members: Vec<(At, At)> = document.members(at).collect();
        let mut valid = self.size(at, members.len(), rule.min_properties, rule.max_properties, "members");
        let needs_names =
            !rule.required.is_empty() || !rule.dependent_required.is_empty() || !rule.dependent_schemas.is_empty();
        let mut names: Vec<std::borrow::Cow<'_, str>> = Vec::new();
        if needs_names {
            names = members.iter().map(|(key, _)| document.string(*key)).collect();
            names.sort_unstable();
        }
        let has = |name: &str| names.binary_search_by(|have| (**have).cmp(name)).is_ok();
        for name in rule.required.iter().filter(|name| !has(name)) {
            valid &= self.fault(at, "MISSING_FIELD", || format!("needs the member {name:?}"));
        }
        for (name, needed) in rule.dependent_required.iter().filter(|(name, _)| has(name)) {
            for needed in needed.iter().filter(|needed| !has(needed)) {
                valid &= self.fault(at, "MISSING_FIELD", || format!("with {name:?} it needs the member {needed:?}"));
            }
        }
        for (place, &(key, value)) in members.iter().enumerate() {
            let name = document.string(key);
            let mut known = false;
            if let Some(&ix) = rule.properties.get(&*name) {
                known = true;
                valid &= self.apply(ix, value, &mut None)?;
            }
            for (pattern, ix) in &rule.pattern_properties {
                self.spend(1 + name.len() as u64 * pattern.as_str().len() as u64 / 4_096)?;
                if pattern.is_match(&name) {
                    known = true;
                    valid &= self.apply(*ix, value, &mut None)?;
                }
            }
            if let (Some(ix), false) = (rule.additional_properties, known) {
                known = true;
                valid &= if self.schema.rules[ix as usize].never {
                    self.fault(key, "UNKNOWN_FIELD", || format!("the member {:?} is not allowed", clip(&name)))
                } else {
                    self.apply(ix, value, &mut None)?
                };
            }
            if known {
                mark(marks, place);
            }
            if let Some(ix) = rule.property_names {
                valid &= self.name(ix, key)?;
            }
        }
        for (_, ix) in rule.dependent_schemas.iter().filter(|(name, _)| has(name)) {
            valid &= self.apply(*ix, at, marks)?;
        }
        Ok(valid)
    }

    /// Applies a rule to the name of a member: as a string of its own.
    fn name(&mut self, ix: RuleIx, key: At) -> Result<bool, Exhausted> {
        let quoted = self.document.raw(key);
        let limits = crate::value::ValueLimits::default();
        let Ok(name) = crate::value::scan::read(quoted.as_bytes(), &limits) else { return Ok(true) };
        self.spend(1)?;
        let mut inner = Checker {
            schema: self.schema,
            document: &name,
            left: self.left,
            nested: self.nested,
            faults: Vec::new(),
            trying: 1,
        };
        let valid = inner.apply(ix, 0, &mut None)?;
        self.left = inner.left;
        if !valid {
            self.fault(key, "UNKNOWN_FIELD", || format!("the name {quoted} is not allowed"));
        }
        Ok(valid)
    }

    fn in_place(&mut self, rule: &Rule, at: At, marks: &mut Marks) -> Result<bool, Exhausted> {
        let mut valid = true;
        if let Some(ix) = rule.reference {
            valid &= self.apply(ix, at, marks)?;
        }
        for &ix in &rule.all_of {
            valid &= self.apply(ix, at, marks)?;
        }
        if !rule.any_of.is_empty() {
            let mut any = false;
            for &ix in &rule.any_of {
                any |= self.tries(ix, at, marks)?;
                if any && marks.is_none() {
                    break;
                }
            }
            if !any {
                valid &= self.fault(at, "BAD_VALUE", || "matches none of the kinds allowed".to_owned());
            }
        }
        if !rule.one_of.is_empty() {
            let mut matching = 0;
            for &ix in &rule.one_of {
                matching += usize::from(self.tries(ix, at, marks)?);
            }
            if matching != 1 {
                let message = || format!("must match exactly one of the kinds allowed, matches {matching}");
                valid &= self.fault(at, "BAD_VALUE", message);
            }
        }
        if let Some(ix) = rule.not
            && self.tries(ix, at, &mut None)?
        {
            valid &= self.fault(at, "BAD_VALUE", || "is of a kind that is not allowed".to_owned());
        }
        if let Some(ix) = rule.condition {
            let branch = if self.tries(ix, at, marks)? { rule.then } else { rule.otherwise };
            if let Some(ix) = branch {
                valid &= self.apply(ix, at, marks)?;
            }
        }
        Ok(valid)
    }

    fn unevaluated(&mut self, rule: &Rule, at: At, kind: Kind, marks: &mut Marks) -> Result<bool, Exhausted> {
        let (ix, places): (_, Vec<(At, At)>) = match (kind, rule.unevaluated_items, rule.unevaluated_properties) {
            (Kind::Array, Some(ix), _) => (ix, self.document.elements(at).map(|at| (at, at)).collect()),
            (Kind::Object, _, Some(ix)) => (ix, self.document.members(at).collect()),
            _ => return Ok(true),
        };
        let mut valid = true;
        for (place, (key, value)) in places.into_iter().enumerate() {
            if marks.as_ref().is_some_and(|marks| marks[place]) {
                continue;
            }
            valid &= if self.schema.rules[ix as usize].never {
                self.fault(key, "UNKNOWN_FIELD", || "is not allowed here".to_owned())
            } else {
                self.apply(ix, value, &mut None)?
            };
            mark(marks, place);
        }
        Ok(valid)
    }
}

fn mark(marks: &mut Marks, place: usize) {
    if let Some(mark) = marks.as_mut().and_then(|marks| marks.get_mut(place)) {
        *mark = true;
    }
}

fn join(outer: &mut Marks, inner: Marks) {
    if let (Some(outer), Some(inner)) = (outer, inner) {
        outer.iter_mut().zip(inner).for_each(|(outer, inner)| *outer |= inner);
    }
}

fn json(value: &Value) -> String {
    let mut out = Vec::new();
    value.write(&mut out);
    clip(&String::from_utf8_lossy(&out)).into_owned()
}

/// Equal bytes for equal values: numbers by value, members in one order.
fn key(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    normal(value).write_canonical(&mut out);
    out
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Double(number) => whole_number(*number).map_or_else(|| value.clone(), Value::Int),
        Value::List(items) => Value::List(items.iter().map(normal).collect::<Vec<_>>().into()),
        Value::Map(map) => {
            let entries = map.entries().iter().map(|(key, value)| (key.clone(), normal(value))).collect();
            crate::value::Map::new(entries).map_or(Value::Null, |map| Value::Map(map.into()))
        }
        other => other.clone(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
            compare(a, b).is_some_and(std::cmp::Ordering::is_eq)
        }
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.entries().len() == b.entries().len()
                && a.entries().iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        _ => false,
    }
}

fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    crate::expressions::number_order(a, b)
}

fn is_multiple(value: &Value, of: &Value) -> bool {
    match (value, of) {
        (Value::Int(value), Value::Int(of)) => value % of == 0,
        (value, of) => {
            let double = |value: &Value| match value {
                Value::Int(number) => *number as f64,
                Value::Double(number) => *number,
                _ => f64::NAN,
            };
            // Decimal fractions such as 0.01 have no exact double, so the quotient is compared with the nearest
            // whole number, a few units in the last place apart.
            let quotient = double(value) / double(of);
            if quotient.is_infinite() {
                return double(value) % double(of) == 0.0;
            }
            (quotient - quotient.round()).abs() <= quotient.abs().max(1.0) * 4.0 * f64::EPSILON
                && (quotient.round() != 0.0 || double(value) == 0.0)
        }
    }
}
