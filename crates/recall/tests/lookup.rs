//! Entities, templates and look-ups through the public interface.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use apex_recall::{Catalogue, Entity, Kind, PhrasingError, Recognizer, Tier, char_offset};
use proptest::prelude::*;

static RECOGNIZER: LazyLock<Recognizer> = LazyLock::new(Recognizer::new);
static FLIGHTS: LazyLock<Catalogue> = LazyLock::new(flights);

fn found(text: &str) -> Vec<(Kind, String)> {
    RECOGNIZER.extract(text).into_iter().map(|one| (one.kind, one.text)).collect()
}

fn names(text: &str) -> Vec<String> {
    found(text).into_iter().map(|(kind, text)| format!("{kind}:{text}")).collect()
}

#[test]
fn finds_the_entities_of_the_goal_of_the_demo() {
    assert_eq!(
        names("Book flight to Paris tomorrow and send confirmation to john@example.com"),
        ["LOCATION:Paris", "DATE:tomorrow", "EMAIL:john@example.com"]
    );
}

#[test]
fn finds_each_kind() {
    let cases: [(&str, &[&str]); 28] = [
        ("write to a.b+c@mail.example.co.uk.", &["EMAIL:a.b+c@mail.example.co.uk"]),
        ("see https://example.com/a?b=c(d), please", &["URL:https://example.com/a?b=c(d)"]),
        ("open www.example.com.", &["URL:www.example.com"]),
        ("call +41 (0)85 806 98 67 now", &["PHONE:+41 (0)85 806 98 67"]),
        ("call (602)272-9781", &["PHONE:(602)272-9781"]),
        ("ring 345-899-3560x4587", &["PHONE:345-899-3560x4587"]),
        ("host 106.31.73.20 is down", &[]),
        ("on the 4th of March", &["DATE:the 4th of March"]),
        ("by Oct. 16, 2036", &["DATE:Oct. 16, 2036"]),
        ("by may the twenty-fourth, 2020", &["DATE:may the twenty-fourth, 2020"]),
        ("6th of this month", &["DATE:6th of this month"]),
        ("the day after tomorrow", &["DATE:the day after tomorrow"]),
        ("2027-03-04", &["DATE:2027-03-04"]),
        ("9/24/1946", &["DATE:9/24/1946"]),
        ("in 2 and a half months", &["DATE:in 2 and a half months"]),
        ("four months from now", &["DATE:four months from now"]),
        ("next Wednesday at 5 pm", &["DATE:next Wednesday", "TIME:5 pm"]),
        ("half past 4 in the evening", &["TIME:half past 4 in the evening"]),
        ("6 o\"clock in the evening", &["TIME:6 o\"clock in the evening"]),
        ("08:41 p.m.", &["TIME:08:41 p.m."]),
        ("in 14 hours", &["TIME:in 14 hours"]),
        ("pay $1,250.50 to the shop", &["MONEY:$1,250.50"]),
        ("a budget of 20 million euros", &["MONEY:20 million euros"]),
        ("scale web to 12 replicas", &["NUMBER:12"]),
        ("twenty-five boxes", &["NUMBER:twenty-five"]),
        ("weather in Sacramento, CA", &["LOCATION:Sacramento, CA"]),
        ("Mrs. Schwarz met John K. Smith", &["PERSON:Schwarz", "PERSON:John K. Smith"]),
        ("note “buy milk” and 'call home'", &["QUOTED:buy milk", "QUOTED:call home"]),
    ];
    for (text, expected) in cases {
        assert_eq!(names(text), expected, "{text}");
    }
}

#[test]
fn a_place_that_is_a_word_needs_a_capital() {
    assert_eq!(names("a nice reading"), Vec::<String>::new());
    assert_eq!(names("hotels in Nice"), ["LOCATION:Nice"]);
    assert_eq!(names("hotels in são paulo"), ["LOCATION:são paulo"]);
}

#[test]
fn characters_are_not_bytes() {
    let text = "Żółw flies to Poznań tomorrow";
    let entity = RECOGNIZER.extract(text).into_iter().find(|one| one.kind == Kind::Location).unwrap();
    assert_eq!(&text[entity.start..entity.end], "Poznań");
    assert_eq!((char_offset(text, entity.start), char_offset(text, entity.end)), (14, 20));
}

#[test]
fn a_template_is_the_same_for_every_spelling() {
    let recognizer = &*RECOGNIZER;
    let template = |text: &str| recognizer.template(text, &recognizer.extract(text));
    let expected = "book flight to {LOCATION} {DATE} and send confirmation to {EMAIL}";
    for text in [
        "Book flight to Paris tomorrow and send confirmation to john@example.com",
        "  book   FLIGHT to Berlin, next Monday, and send confirmation to a@b.org. ",
        "Could you please book flight to Hong Kong on-demand?",
        "Please book flight to Rome March 4th and send confirmation to a@b.org, please!",
    ] {
        let is_other = text.contains("on-demand");
        assert_eq!(template(text) == expected, !is_other, "{text}: {}", template(text));
    }
    assert_eq!(template("from Paris to Rome"), "from {LOCATION} to {LOCATION_2}");
    assert_eq!(template("note \"a b\""), "note {QUOTED}");
}

fn flights() -> Catalogue {
    let recognizer = &*RECOGNIZER;
    let mut catalogue = Catalogue::new();
    for (template, phrasing) in [
        (0, "Book flight to {LOCATION} {DATE} and send confirmation to {EMAIL}"),
        (1, "Book flight from {LOCATION_2} to {LOCATION} {DATE}"),
        (2, "Remind {PERSON} about {QUOTED} {DATE} at {TIME}"),
        (3, "Restart all services"),
        (4, "Call {PERSON} at {PHONE}"),
        (5, "{PERSON} needs a taxi at {TIME}"),
    ] {
        catalogue.add(recognizer, template, &[phrasing]).unwrap();
    }
    catalogue
}

fn bound(goal: &str) -> Option<(u32, Vec<(String, String)>)> {
    let (recognizer, catalogue) = (&*RECOGNIZER, &*FLIGHTS);
    let found = catalogue.find(recognizer, &recognizer.read(goal))?;
    Some((
        found.template,
        found.slots.iter().map(|slot| (slot.name.clone(), goal[slot.start..slot.end].to_owned())).collect(),
    ))
}

#[test]
fn binds_what_no_list_holds() {
    let flight = |place: &str, date: &str| {
        let goal = format!("Book flight to {place} {date} and send confirmation to q@example.com");
        let expected = vec![
            ("LOCATION".to_owned(), place.to_owned()),
            ("DATE".to_owned(), date.to_owned()),
            ("EMAIL".to_owned(), "q@example.com".to_owned()),
        ];
        assert_eq!(bound(&goal), Some((0, expected)), "{goal}");
    };
    for place in [
        "Paris",
        "Zzyzx",
        "Winter Haven",
        "Trinidad and Tobago",
        "Paris, France",
        "St. Louis",
        "${nodes.x}x",
        "HYVINKÄÄ",
    ] {
        for date in ["tomorrow", "March 2nd", "the 5th", "later today", "this Saturday", "4th of march", "2027-01-02"] {
            if place.starts_with('$') {
                continue;
            }
            flight(place, date);
        }
    }
}

#[test]
fn a_slot_keeps_its_number_when_the_phrasing_swaps_them() {
    let (template, slots) = bound("book flight from Oslo to Rome tomorrow").unwrap();
    let pairs: Vec<(&str, &str)> = slots.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!((template, pairs), (1, vec![("LOCATION_2", "Oslo"), ("LOCATION", "Rome"), ("DATE", "tomorrow")]));
}

#[test]
fn fits_the_whole_goal_or_not_at_all() {
    assert!(bound("Restart all services.").is_some());
    for goal in [
        "Restart all services in Paris",
        "Restart all",
        "Do not restart all services",
        "Book flight to Paris tomorrow and send confirmation to nobody",
        "Book flight to wherever you like tomorrow and send confirmation to a@b.org",
        "Book flight to Paris tomorrow and send confirmation to a@b.org and b@c.org",
        "Call Anna at noon",
        "",
        "...",
    ] {
        assert_eq!(bound(goal), None, "{goal}");
    }
}

#[test]
fn says_what_is_wrong_with_a_phrasing() {
    let recognizer = &*RECOGNIZER;
    let mut catalogue = Catalogue::new();
    let mut add = |text: &str| catalogue.add(recognizer, 0, &[text]).err().map(|(_, error)| error);
    assert_eq!(add("go to {LOCATION"), Some(PhrasingError::Unbalanced));
    assert_eq!(add("go to {PLACE}"), Some(PhrasingError::UnknownSlot("PLACE".to_owned())));
    assert_eq!(add("go to {DATE_1}"), Some(PhrasingError::UnknownSlot("DATE_1".to_owned())));
    assert_eq!(add("go to {DATE} or {DATE}"), Some(PhrasingError::RepeatedSlot("DATE".to_owned())));
    assert_eq!(add("{DATE} {TIME}"), Some(PhrasingError::TooFewWords));
    assert!(matches!(add("tell them {PERSON} {LOCATION}"), Some(PhrasingError::AdjacentSlots(..))));
    assert_eq!(add("go to {LOCATION} now"), None);
    let all = ["Drive to {LOCATION} now", "Go to {LOCATION} now!"];
    assert_eq!(catalogue.add(recognizer, 1, &all), Err((1, PhrasingError::Taken { template: 0 })));
    assert_eq!(catalogue.len(), 1);
    assert_eq!(catalogue.add(recognizer, 0, &all), Ok(1));
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("Paris".to_owned()),
        Just("tomorrow".to_owned()),
        Just("john@example.com".to_owned()),
        Just("\"x y\"".to_owned()),
        Just("twenty".to_owned()),
        Just("hundred".to_owned()),
        Just("and".to_owned()),
        Just(",".to_owned()),
        Just("Book flight to".to_owned()),
        Just("5".to_owned()),
        "\\PC{0,6}",
        "[a-zA-Z0-9'@.:/$+()-]{1,8}",
    ]
}

proptest! {
    #[test]
    fn entities_are_in_order_apart_and_as_written(words in prop::collection::vec(word(), 0..24)) {
        let text = words.join(" ");
        let mut end = 0;
        for Entity { text: value, start, end: behind, .. } in RECOGNIZER.extract(&text) {
            prop_assert!(start >= end && behind > start);
            prop_assert_eq!(&text[start..behind], value);
            end = behind;
        }
    }

    #[test]
    fn the_template_of_the_entities_is_the_template_of_the_reading(words in prop::collection::vec(word(), 0..16)) {
        let text = words.join(" ");
        let recognizer = &*RECOGNIZER;
        prop_assert_eq!(recognizer.template(&text, &recognizer.extract(&text)), recognizer.read(&text).template());
    }

    #[test]
    fn a_match_covers_the_words_of_its_phrasing(words in prop::collection::vec(word(), 0..12)) {
        let goal = words.join(" ");
        if let Some((_, slots)) = bound(&goal) {
            for (_, value) in slots {
                prop_assert!(!value.is_empty() && goal.contains(&value));
            }
        }
    }

    #[test]
    fn the_two_tiers_agree(place in "[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9})?", day in 1u32..28) {
        let (recognizer, catalogue) = (&*RECOGNIZER, &*FLIGHTS);
        let goal = format!("Book flight to {place} 2027-01-{day:02} and send confirmation to a@b.org");
        let reading = recognizer.read(&goal);
        if let Some(found) = catalogue.find(recognizer, &reading) {
            let shouted = format!("Book flight to {place} 2027-01-{day:02} and, send confirmation to a@b.org");
            let again = catalogue.find(recognizer, &recognizer.read(&shouted)).unwrap();
            prop_assert_eq!(&goal[found.slots[0].start..found.slots[0].end], place.as_str());
            prop_assert_eq!(&shouted[again.slots[0].start..again.slots[0].end], place.as_str());
            prop_assert!(matches!(found.tier, Tier::Template | Tier::Words));
        }
    }
}
