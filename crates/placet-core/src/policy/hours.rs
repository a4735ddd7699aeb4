//! `hours`: when a rule has its say, by the clock on the wall of a time zone (DESIGN §4).
//!
//! An instant is open where the zone's clock shows a time from `from` on and before `to` on one of the days. A span
//! that ends before it begins goes over midnight and belongs to the day it begins on. Where the clock is put forward,
//! times that it skips don't come; where it is put back, times that it shows twice count twice.
//!
//! Invariant: native arithmetic, no text that becomes a condition; never unknown.

use crate::{
    time::Timestamp,
    yaml::{MapReading, Reading},
};
use jiff::{
    Zoned,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};
use std::fmt;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How many days ahead the next opening is looked for: a weekly hour can be skipped once by a clock put forward.
const AHEAD: i32 = 16;
/// The keys of one span.
pub(super) const KEYS: &[&str] = &["days", "from", "to", "zone"];
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When a rule has its say: in any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hours(Box<[Opening]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Opening {
    /// From Monday.
    days: [bool; 7],
    /// In minutes since midnight, below [`DAY`].
    from: u16,
    /// In minutes since midnight, up to [`DAY`]; below `from` where it goes over midnight.
    to: u16,
    zone: TimeZone,
}

impl Hours {
    /// Reads `{days, from, to, zone}`, or a list of those; what is wrong is reported.
    pub(super) fn read(reading: &Reading<'_>) -> Option<Self> {
        let items = reading.one_or_many();
        if items.is_empty() {
            reading.error("the list is empty: name the hours, or leave `hours` out for always");
        }
        let openings: Vec<_> = items.iter().filter_map(Opening::read).collect();
        (!openings.is_empty()).then(|| Self(openings.into()))
    }

    /// Whether it is open at this moment.
    pub(crate) fn open(&self, at: Timestamp) -> bool {
        self.0.iter().any(|opening| opening.open(at))
    }

    /// The first moment after `at` at which it opens; `None` where that is not within two weeks. To be asked where it
    /// is closed.
    pub(crate) fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|opening| opening.opens_after(at)).min()
    }

    /// Every moment within `days` days after `from` at which it may open or close; between two of them it does neither.
    pub(super) fn edges(&self, from: Timestamp, days: u16) -> Vec<Timestamp> {
        let mut edges = Vec::new();
        for opening in &self.0 {
            let mut day = opening.zoned(from).date();
            for _ in 0..days {
                opening.edges(day, &mut edges);
                let Ok(next) = day.tomorrow() else { break };
                day = next;
            }
            let jumps = opening.zone.following(from.to_jiff());
            let last = edges.iter().max().copied().unwrap_or(from);
            let jumps = jumps.map(|jump| Timestamp::from_jiff(jump.timestamp()));
            edges.extend(jumps.take_while(|jump| *jump <= last));
        }
        edges
    }

    /// As a document would state it, with nothing left out.
    pub(super) fn in_full(&self) -> String {
        let one = |opening: &Opening| {
            let (days, zone) = (days(opening.days), zone(&opening.zone));
            let (from, to) = (clock(opening.from), clock(opening.to));
            format!("{{days: \"{days}\", from: \"{from}\", to: \"{to}\", zone: \"{zone}\"}}")
        };
        let all: Vec<_> = self.0.iter().map(one).collect();
        if let [only] = all.as_slice() { only.clone() } else { format!("[{}]", all.join(", ")) }
    }
}

impl fmt::Display for Hours {
    /// `mon-fri 09:00-17:00 Europe/Paris`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, opening) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let (from, to) = (clock(opening.from), clock(opening.to));
            write!(f, "{separator}{} {from}-{to} {}", days(opening.days), zone(&opening.zone))?;
        }
        Ok(())
    }
}

impl Opening {
    fn read(reading: &Reading<'_>) -> Option<Self> {
        let map = reading.map()?;
        map.finish(KEYS);
        if ["days", "from", "to"].iter().all(|key| map.optional(key).is_none()) {
            reading.error("`hours` needs `days`, or `from` and `to`");
            return None;
        }
        let days = match map.optional("days") {
            None => [true; 7],
            Some(reading) => read_days(&reading)?,
        };
        let from = minutes(&map, "from", 0, DAY - 1)?;
        let to = minutes(&map, "to", DAY, DAY)?;
        if from == to || (to == 0 && from == 0) {
            reading.error("`from` and `to` are the same: leave both out for the whole day");
            return None;
        }
        let zone = match map.optional("zone") {
            None => {
                reading.warning(
                    "without a `zone` the hours are those of UTC; write `zone: UTC` if that is meant",
                );
                TimeZone::UTC
            }
            Some(reading) => {
                let name = reading.string()?;
                match TimeZone::get(name) {
                    Ok(zone) => zone,
                    Err(_) => {
                        reading.error(format!("`{name}` is no IANA time zone, such as Europe/Paris"));
                        return None;
                    }
                }
            }
        };
        // Midnight at the end is the end of the day, however it is written.
        Some(Self { days, from, to: if to == 0 { DAY } else { to }, zone })
    }

    fn open(&self, at: Timestamp) -> bool {
        let local = self.zoned(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        if self.from < self.to {
            return on(today) && (self.from..self.to).contains(&minute);
        }
        (on(today) && minute >= self.from) || (on(today + 6) && minute < self.to)
    }

    fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.zoned(at);
        let mut moments: Vec<Timestamp> = Vec::new();
        let mut day = local.date().yesterday().ok()?;
        for _ in 0..=AHEAD {
            self.moments(day, &mut moments);
            day = day.tomorrow().ok()?;
        }
        // Wherever the clock jumps, it may jump into what is open.
        let jumps = self.zone.following(at.to_jiff()).map(|jump| Timestamp::from_jiff(jump.timestamp()));
        let last = moments.iter().max().copied()?;
        moments.extend(jumps.take_while(|jump| *jump <= last));
        moments.into_iter().filter(|moment| *moment > at && self.open(*moment)).min()
    }

    /// When the clock shows midnight, `from` and `to` on this day.
    fn edges(&self, day: Date, edges: &mut Vec<Timestamp>) {
        self.moments(day, edges);
        self.shown_at(day, self.to % DAY, edges);
    }

    /// When the clock shows midnight and when it shows `from` on this day.
    fn moments(&self, day: Date, moments: &mut Vec<Timestamp>) {
        self.shown_at(day, 0, moments);
        self.shown_at(day, self.from, moments);
    }

    /// When the clock shows so many minutes since midnight on this day.
    fn shown_at(&self, day: Date, minutes: u16, moments: &mut Vec<Timestamp>) {
        let hour = i8::try_from(minutes / 60).unwrap_or(0);
        let minute = i8::try_from(minutes % 60).unwrap_or(0);
        let time = day.at(hour, minute, 0, 0);
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        let offsets = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => [offset, offset],
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                [before, after]
            }
        };
        let at = offsets.into_iter().filter_map(|offset| offset.to_timestamp(time).ok());
        moments.extend(at.map(Timestamp::from_jiff));
    }

    fn zoned(&self, at: Timestamp) -> Zoned {
        at.to_jiff().to_zoned(self.zone.clone())
    }
}

/// `mon-fri`, `sat,sun`, or a list of those.
fn read_days(reading: &Reading<'_>) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for item in reading.one_or_many() {
        for part in item.string()?.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (day(first.trim()), day(last.trim())) else {
                item.error(format!("`{part}` is no day: write `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, a range like `mon-fri` or a list"));
                return None;
            };
            let length = (last + 7 - first) % 7;
            for offset in 0..=length {
                if let Some(on) = days.get_mut((first + offset) % 7) {
                    *on = true;
                }
            }
        }
    }
    if days == [false; 7] {
        reading.error("the list is empty: name at least a day, or leave `days` out for every day");
        return None;
    }
    Some(days)
}

fn day(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// Minutes since midnight of `HH:MM`, at most `latest`; `default` where the key is left out.
fn minutes(map: &MapReading<'_>, key: &str, default: u16, latest: u16) -> Option<u16> {
    let Some(reading) = map.optional(key) else { return Some(default) };
    let read = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let part = |text: &str| {
            (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u16>().ok())?
        };
        let (hour, minute) = (part(hour)?, part(minute)?);
        let total = hour * 60 + minute;
        (minute < 60 && total <= latest).then_some(total)
    };
    let text = reading.string()?;
    let minutes = read(text);
    if minutes.is_none() {
        let until = clock(latest);
        reading.error(format!(
            "`{text}` is no time of day: write hours and minutes from \"00:00\" to \"{until}\""
        ));
    }
    minutes
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn zone(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// The shortest way to write a set of days: runs as ranges.
fn days(on: [bool; 7]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut first = None;
    for index in 0..=7 {
        let is_on = on.get(index).copied().unwrap_or(false);
        match (first, is_on) {
            (None, true) => first = Some(index),
            (Some(begin), false) => {
                let name = |index: usize| NAMES.get(index).copied().unwrap_or_default();
                parts.push(match index - begin {
                    1 => name(begin).to_owned(),
                    _ => format!("{}-{}", name(begin), name(index - 1)),
                });
                first = None;
            }
            _ => {}
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests;
