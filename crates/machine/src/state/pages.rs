//! Where the bytes of runs at rest stand: in pages, one after the other, each behind its slot and its length. A page that
//! is full never changes again, so snapshots share it; what is left of a page that is mostly dead moves to the end.
//! With an allocation for each run instead, laying one to rest took three times as long (`examples/waiting.rs`).

use std::sync::Arc;

/// Bytes of a page; a run that is larger has one of its own.
const PAGE_BYTES: usize = 64 << 10;
/// Slot and length.
const PREFIX: usize = 8;

/// Where the bytes of a run stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    page: u32,
    at: u32,
    length: u32,
}

#[derive(Debug, Default)]
struct Page {
    bytes: Arc<Vec<u8>>,
    /// Bytes of it that something still stands in.
    live: usize,
}

/// The bytes of a page, and slots and places of what stood in it at any time.
pub(super) type Thin = (Arc<Vec<u8>>, Vec<(u32, Place)>);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
    free: Vec<u32>,
    /// The one that is being filled; none before the first.
    filling: Option<u32>,
    live: usize,
    size: usize,
    hand: usize,
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

impl Place {
    /// Its bytes among those of its page.
    pub(super) fn of(self, page: &[u8]) -> &[u8] {
        &page[self.at as usize..][..self.length as usize]
    }
}

/// The bytes at a place of shared pages.
pub(super) fn at(pages: &[Arc<Vec<u8>>], place: Place) -> &[u8] {
    place.of(&pages[place.page as usize])
}

impl Pages {
    /// The bytes at a place.
    pub(super) fn get(&self, place: Place) -> &[u8] {
        place.of(&self.pages[place.page as usize].bytes)
    }

    /// Keeps the bytes of the run in a slot.
    pub(super) fn put(&mut self, slot: u32, bytes: &[u8]) -> Place {
        let size = bytes.len() + PREFIX;
        let number = self.page_with_room(size);
        let page = &mut self.pages[number as usize];
        // Never shared: one that was is not filled any further.
        let out = Arc::make_mut(&mut page.bytes);
        out.extend_from_slice(&slot.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        let at = out.len() as u32;
        out.extend_from_slice(bytes);
        page.live += size;
        self.live += size;
        self.size += size;
        Place { page: number, at, length: bytes.len() as u32 }
    }

    fn page_with_room(&mut self, size: usize) -> u32 {
        if let Some(filling) = self.filling {
            let page = &mut self.pages[filling as usize];
            let has_room = page.bytes.is_empty() || page.bytes.len() + size <= PAGE_BYTES;
            if has_room && Arc::get_mut(&mut page.bytes).is_some() {
                return filling;
            }
            self.filling = None;
            self.give_back(filling);
        }
        let page = Page { bytes: Arc::new(Vec::with_capacity(PAGE_BYTES.max(size))), live: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None => {
                self.pages.push(page);
                (self.pages.len() - 1) as u32
            }
        };
        self.filling = Some(number);
        number
    }

    /// Forgets what stands at a place.
    pub(super) fn remove(&mut self, place: Place) {
        let size = place.length as usize + PREFIX;
        self.pages[place.page as usize].live -= size;
        self.live -= size;
        self.give_back(place.page);
    }

    /// Frees a page in which nothing stands any more.
    fn give_back(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        if page.live == 0 && self.filling != Some(number) && page.bytes.capacity() > 0 {
            self.size -= page.bytes.len();
            *page = Page::default();
            self.free.push(number);
        }
    }

    /// Where more is dead than alive: the next page, if it is so there too. Whoever is alive among them is to be put anew, and removed here.
    pub(super) fn next_thin(&mut self) -> Option<Thin> {
        if self.size < 2 * self.live + PAGE_BYTES || self.pages.is_empty() {
            return None;
        }
        self.hand = (self.hand + 1) % self.pages.len();
        let page = &self.pages[self.hand];
        if self.filling == Some(self.hand as u32) || page.bytes.len() < 2 * page.live {
            return None;
        }
        let bytes = page.bytes.clone();
        let mut stood = Vec::new();
        let mut from = 0;
        while from < bytes.len() {
            let (slot, length) = (number(&bytes[from..from + 4]), number(&bytes[from + 4..from + PREFIX]));
            from += PREFIX;
            stood.push((slot, Place { page: self.hand as u32, at: from as u32, length }));
            from += length as usize;
        }
        Some((bytes, stood))
    }

    /// All pages as they stand, to be read without this.
    pub(super) fn share(&self) -> Vec<Arc<Vec<u8>>> {
        self.pages.iter().map(|page| page.bytes.clone()).collect()
    }
}

/// Bytes beside the pages, as one page more: places of what is put.
pub(super) struct Beside {
    page: u32,
    pub(super) bytes: Vec<u8>,
}

impl Beside {
    pub(super) fn new(page: usize) -> Beside {
        Beside { page: page as u32, bytes: Vec::new() }
    }

    /// Gives what was written behind `from` a place.
    pub(super) fn place(&self, from: usize) -> Place {
        Place { page: self.page, at: from as u32, length: (self.bytes.len() - from) as u32 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_small_shares_a_page_and_what_is_large_has_one_of_its_own() {
        let mut pages = Pages::default();
        let size = 100 + PREFIX;
        for slot in 0..(PAGE_BYTES / size) as u32 {
            pages.put(slot, &[7; 100]);
        }
        assert_eq!(pages.share().len(), 1);
        pages.put(0, &[7; 100]);
        assert_eq!(pages.share().len(), 2, "there was no room for one more");
        pages.put(0, &vec![7; PAGE_BYTES]);
        pages.put(0, &[7; 100]);
        assert_eq!(pages.share().len(), 4);
    }

    #[test]
    fn what_is_put_stays_until_it_is_removed_and_dead_pages_are_freed() {
        let mut pages = Pages::default();
        let entry = |slot: u32| vec![slot as u8; 100 + (slot as usize * 7) % 400];
        let mut places: Vec<Option<Place>> = (0..5_000).map(|slot| Some(pages.put(slot, &entry(slot)))).collect();
        let shared = pages.share();
        let first: Vec<Place> = places.iter().flatten().copied().collect();
        let full = pages.size;
        for slot in (0..5_000).filter(|slot| slot % 8 != 0) {
            pages.remove(places[slot as usize].take().unwrap());
        }
        for _ in 0..2_000 {
            let Some((bytes, stood)) = pages.next_thin() else { continue };
            for (slot, place) in stood {
                if places[slot as usize] == Some(place) {
                    places[slot as usize] = Some(pages.put(slot, place.of(&bytes)));
                    pages.remove(place);
                }
            }
        }
        for (slot, place) in places.iter().enumerate() {
            assert!(place.is_none_or(|place| pages.get(place) == entry(slot as u32)));
        }
        assert!(pages.size <= 2 * pages.live + PAGE_BYTES, "{} of {} are alive", pages.live, pages.size);
        assert!(pages.size < full / 2);
        for (slot, place) in first.into_iter().enumerate() {
            assert_eq!(at(&shared, place), entry(slot as u32), "what was shared stays");
        }
        for place in places.into_iter().flatten() {
            pages.remove(place);
        }
        assert_eq!(pages.live, 0);
        assert!(pages.size <= PAGE_BYTES);
    }
}
