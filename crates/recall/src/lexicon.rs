//! The closed vocabulary: words that mean a number, a day, a clock, a currency, or that no name contains.

use std::collections::{HashMap, HashSet};

use crate::token::Doc;

/// A set of word classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(u32);

impl Class {
    pub(crate) const NONE: Class = Class(0);
    pub(crate) const WEEKDAY: Class = Class(1);
    pub(crate) const MONTH: Class = Class(1 << 1);
    pub(crate) const ORDINAL: Class = Class(1 << 2);
    pub(crate) const ORDINAL_END: Class = Class(1 << 3);
    pub(crate) const CARDINAL: Class = Class(1 << 4);
    pub(crate) const RELATIVE_DAY: Class = Class(1 << 5);
    pub(crate) const NEXT: Class = Class(1 << 6);
    pub(crate) const DAY_UNIT: Class = Class(1 << 7);
    pub(crate) const CLOCK_UNIT: Class = Class(1 << 8);
    pub(crate) const DAY_PART: Class = Class(1 << 9);
    pub(crate) const MERIDIEM: Class = Class(1 << 10);
    pub(crate) const CLOCK_WORD: Class = Class(1 << 11);
    pub(crate) const SEASON: Class = Class(1 << 12);
    pub(crate) const DECADE: Class = Class(1 << 13);
    pub(crate) const HOLIDAY: Class = Class(1 << 14);
    pub(crate) const CURRENCY: Class = Class(1 << 15);
    pub(crate) const CURRENCY_CODE: Class = Class(1 << 16);
    pub(crate) const MAGNITUDE: Class = Class(1 << 17);
    /// Small words that may stand inside a date, a time or a name, but end none.
    pub(crate) const JOIN: Class = Class(1 << 18);
    /// Words that no name of a place or person contains: pronouns, verbs, question words, sequence words.
    pub(crate) const NO_NAME: Class = Class(1 << 19);
    pub(crate) const TITLE: Class = Class(1 << 20);
    pub(crate) const PLACE_CUE: Class = Class(1 << 21);
    pub(crate) const PERSON_CUE: Class = Class(1 << 22);
    pub(crate) const CALENDAR_JOIN: Class = Class(1 << 23);
    /// Words that start a sentence with a capital letter and are no name.
    pub(crate) const COMMON: Class = Class(1 << 24);
    pub(crate) const ARTICLE: Class = Class(1 << 25);
    /// Words of the names of firms and institutions: what ends in one is no person.
    pub(crate) const FIRM: Class = Class(1 << 26);
    /// Words that start the name of a place.
    pub(crate) const PLACE_HEAD: Class = Class(1 << 27);
    /// The first word of a listed holiday.
    pub(crate) const HOLIDAY_HEAD: Class = Class(1 << 28);
    /// Meals and the like, which stand for a time of day only where a slot asks for one.
    pub(crate) const SLOT_TIME: Class = Class(1 << 29);

    /// Words of a date or a time.
    pub(crate) const CALENDAR: Class = Class(
        Self::WEEKDAY.0
            | Self::MONTH.0
            | Self::ORDINAL.0
            | Self::RELATIVE_DAY.0
            | Self::NEXT.0
            | Self::DAY_UNIT.0
            | Self::CLOCK_UNIT.0
            | Self::DAY_PART.0
            | Self::MERIDIEM.0
            | Self::CLOCK_WORD.0
            | Self::SEASON.0
            | Self::DECADE.0
            | Self::HOLIDAY.0,
    );

    pub(crate) const fn or(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }
}

const CARDINALS: &[(&str, u32)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("dozen", 12),
];

const ORDINALS: &[&str] = &[
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];

const MONTHS: &[&[&str]] = &[
    &["january", "jan"],
    &["february", "feb"],
    &["march", "mar"],
    &["april", "apr"],
    &["may"],
    &["june", "jun"],
    &["july", "jul"],
    &["august", "aug"],
    &["september", "sep", "sept"],
    &["october", "oct"],
    &["november", "nov"],
    &["december", "dec"],
];

const CLASSES: &[(Class, &str)] = &[
    (
        Class::WEEKDAY,
        "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays \
         sundays weekday weekdays mon tue tues wed thu thur thurs fri",
    ),
    (Class::ORDINAL_END, "st nd rd th"),
    (Class::RELATIVE_DAY, "today tomorrow yesterday tonight"),
    (Class::NEXT, "next last this coming following upcoming previous past later earlier"),
    (
        Class::DAY_UNIT,
        "day days week weeks month months year years weekend weekends fortnight fortnights decade decades quarter",
    ),
    (Class::CLOCK_UNIT, "second seconds minute minutes hour hours min mins sec secs hr hrs"),
    (Class::DAY_PART, "morning afternoon evening night"),
    (Class::MERIDIEM, "am pm"),
    (Class::CLOCK_WORD, "noon midnight midday sunrise sunset dawn dusk lunchtime"),
    (Class::SEASON, "spring summer autumn winter fall"),
    (Class::DECADE, "twenties thirties forties fourties fifties sixties seventies eighties nineties"),
    (Class::HOLIDAY, "christmas easter thanksgiving halloween"),
    (Class::SLOT_TIME, "now immediately breakfast brunch elevenses lunch tea teatime dinner supper meal snack"),
    (
        Class::CURRENCY,
        "dollar dollars euro euros pound pounds yen rupee rupees cent cents buck bucks franc francs peso pesos yuan won \
         krona kroner",
    ),
    (Class::CURRENCY_CODE, "usd eur gbp jpy chf cad aud inr cny sek nok dkk"),
    (Class::MAGNITUDE, "thousand million billion trillion"),
    (
        Class::JOIN,
        "a an the of in at on to for from by with and or but as into onto over under between than near around about via \
         per is 's",
    ),
    (Class::ARTICLE, "a an the"),
    (
        Class::FIRM,
        "inc ltd llc plc corp corporation company co group club center centre park street st road rd avenue ave lane drive \
         square hotel restaurant cafe theatre theatres theater theaters cinema cinemas museum university college school \
         hospital bank airport station church stadium arena festival playlist orchestra band investments technologies \
         services software systems solutions partners network media weekly news times tv radio records national forest \
         refuge memorial monument beach island islands county state city",
    ),
    (
        Class::PLACE_HEAD,
        "north south east west northern southern eastern western upper lower new old port fort mount saint st little great",
    ),
    (
        Class::NO_NAME,
        "i you he she it we they me him us them who whom whose what which where when why how whether that these those \
         there here then if because while until after before also please is are was were be been being am do does did \
         have has had can could will would shall should must might let get give show tell want need like know think \
         find make go going take send book buy order call email text remind schedule not no don't doesn't won't can't \
         any some every everything something anything someone anyone nothing wherever whatever either both instead \
         check confirm cancel change create",
    ),
    (Class::TITLE, "mr mrs ms miss dr prof professor sir madam mister doctor"),
    (Class::PLACE_CUE, "in near from to visit visiting around towards outside leaving reach reaching"),
    (
        Class::PERSON_CUE,
        "call calling email emailing ask tell text texting remind invite with message ping phone meet meeting contact \
         notify dear hi hello for",
    ),
    (
        Class::CALENDAR_JOIN,
        "the of in at on a an and half past quarter to from now ago later earlier after before this o'clock o\"clock \
         oclock till few couple end beginning mid early late every",
    ),
    (
        Class::COMMON,
        "the a an my your our their his her its this that these those in on at to for from with and or but as of by if so \
         i i'm i'd i'll i've you he she it we they is are was were be do does did have has had can could will would should \
         may might must not no yes ok okay sure thanks thank please hello hi hey what which who where when why how there \
         here then also just only let show tell find get give make book buy order send play add rate search look want need \
         like know call email text remind set schedule cancel check all any some every each one two three more most other \
         another first second new old good great best same sounds perfect nice oh well actually alright awesome right \
         before after during about over under into how's what's that's it's don't doesn't movie film book song album \
         restaurant hotel house room apartment flight train bus car ticket tickets table street road avenue apt suite unit \
         box po friday monday",
    ),
];

/// The lines of an embedded list in the lower-case single-spaced form of [`Doc::phrase`]; `#` starts a comment.
pub(crate) fn phrases(file: &str, lexicon: &Lexicon) -> HashSet<String> {
    file.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let doc = Doc::new(line, lexicon);
            doc.phrase(0, doc.len()).to_owned()
        })
        .collect()
}

/// The vocabulary, built once.
#[derive(Debug)]
pub(crate) struct Lexicon {
    words: HashMap<String, (Class, u32)>,
    /// In the lower-case single-spaced form of a text, see [`Doc::phrase`].
    holidays: HashSet<String>,
}

impl Lexicon {
    pub(crate) fn new() -> Lexicon {
        let mut words: HashMap<String, (Class, u32)> = HashMap::new();
        let mut put = |word: &str, class: Class, value: Option<u32>| {
            let entry = words.entry(word.to_owned()).or_insert((Class::NONE, u32::MAX));
            entry.0 = entry.0.or(class);
            if let Some(value) = value {
                entry.1 = value;
            }
        };
        for (class, list) in CLASSES {
            for word in list.split_whitespace() {
                put(word, *class, None);
            }
        }
        for (word, value) in CARDINALS {
            put(word, Class::CARDINAL, Some(*value));
        }
        for (word, value) in ORDINALS.iter().zip(1..).chain([(&"thirtieth", 30)]) {
            put(word, Class::ORDINAL, Some(value));
        }
        for (names, value) in MONTHS.iter().zip(1..) {
            for word in *names {
                put(word, Class::MONTH, Some(value));
            }
        }
        let mut lexicon = Lexicon { words, holidays: HashSet::new() };
        lexicon.holidays = phrases(include_str!("../data/holidays.txt"), &lexicon);
        for name in &lexicon.holidays {
            let head = name.split(' ').next().unwrap_or(name);
            let entry = lexicon.words.entry(head.to_owned()).or_insert((Class::NONE, u32::MAX));
            entry.0 = entry.0.or(Class::HOLIDAY_HEAD);
        }
        lexicon
    }

    /// True for the lower-case single-spaced form of a listed holiday.
    pub(crate) fn is_holiday(&self, name: &str) -> bool {
        self.holidays.contains(name)
    }

    /// The classes of a lower-case word and the number it stands for (`u32::MAX` for none).
    pub(crate) fn word(&self, low: &str) -> (Class, u32) {
        self.words.get(low).copied().unwrap_or((Class::NONE, u32::MAX))
    }
}
