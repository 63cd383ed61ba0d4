//! The results as an SVG chart: a panel for each class, a group of bars for each workload. In a group the longest bar is
//! the best, so that a bar's length is a ratio. Readable on light and on dark ground.

use std::fmt::Write;

use crate::results::{OURS, Results, Row};
use crate::table::short;
use crate::workload::{Class, Shape};

const WIDTH: usize = 860;
const LEFT: usize = 290;
const BAR_MAX: usize = 470;
const BAR: usize = 12;
const BAR_STEP: usize = 15;
const GROUP_GAP: usize = 12;
const MARGIN: usize = 16;
const TITLE: usize = 30;
/// Wiber's colour, then the rivals'.
const OUR_COLOUR: &str = "#e8590c";
const COLOURS: [&str; 6] = ["#4c78a8", "#72b7b2", "#9d7fb8", "#8a9a5b", "#b07aa1", "#7f8c99"];

/// Draws the rows in which messages are counted.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = MARGIN + legend(results, &mut body);
    for class in Class::ALL {
        let rows: Vec<&Row> =
            results.rows.iter().filter(|row| row.class == class && row.shape != Shape::Latency).collect();
        if rows.is_empty() {
            continue;
        }
        y += TITLE;
        let title = format!("{}: {}", class.name(), class.promise());
        let _ = writeln!(body, r#"<text class="title" x="{MARGIN}" y="{}">{}</text>"#, y - 8, escape(&title));
        for row in rows {
            y = group(results, row, y, &mut body);
        }
    }
    let note = format!(
        "Messages per second, median of {} runs; thin lines: least to most. {}, {} processors.",
        results.runs, results.machine.kernel, results.machine.processors
    );
    y += TITLE;
    let _ = writeln!(body, r#"<text class="note" x="{MARGIN}" y="{}">{}</text>"#, y - 10, escape(&note));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" aria-label="Messages per second of Wiber and its rivals">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #24292f }}
.title {{ font-weight: 600; font-size: 14px }}
.ours {{ font-weight: 600 }}
.note {{ font-size: 11px; opacity: .75 }}
.spread {{ stroke: #24292f; stroke-width: 1 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .spread {{ stroke: #e6edf3 }} }}
</style>
{body}</svg>
"#
    )
}

fn colour(results: &Results, rival: &str) -> &'static str {
    if rival == OURS {
        return OUR_COLOUR;
    }
    let others = results.contenders.iter().filter(|contender| contender.name != OURS);
    let place = others.map(|contender| &contender.name).position(|name| name == rival).unwrap_or(0);
    COLOURS[place % COLOURS.len()]
}

/// Draws who has which colour; gives its height.
fn legend(results: &Results, body: &mut String) -> usize {
    let mut x = MARGIN;
    for contender in &results.contenders {
        let name = format!("{} {}", contender.title, contender.version);
        let fill = colour(results, &contender.name);
        let _ = writeln!(
            body,
            r#"<rect x="{x}" y="{MARGIN}" width="{BAR}" height="{BAR}" rx="2" fill="{fill}"/><text x="{}" y="{}">{}</text>"#,
            x + BAR + 6,
            MARGIN + BAR - 2,
            escape(&name)
        );
        x += BAR + 30 + name.chars().count() * 7;
    }
    BAR + 6
}

/// Draws the bars of a row below `top`; gives where they end.
fn group(results: &Results, row: &Row, top: usize, body: &mut String) -> usize {
    let longest = row.cells.iter().map(|cell| cell.messages_per_s.max).fold(f64::MIN_POSITIVE, f64::max);
    let length = |rate: f64| (rate / longest * BAR_MAX as f64).max(1.0);
    let label_y = top + (row.cells.len() * BAR_STEP).div_ceil(2) + 2;
    let _ = writeln!(body, r#"<text x="{MARGIN}" y="{label_y}">{}</text>"#, escape(&row.title));
    let mut y = top;
    for cell in &row.cells {
        let rate = cell.messages_per_s;
        let (bar, middle) = (length(rate.median), y + BAR / 2);
        let (from, to) = (LEFT as f64 + length(rate.min), LEFT as f64 + length(rate.max));
        let ours = cell.rival == OURS;
        let mut label = short(rate.median);
        if let (true, Some(ratio), Some(against)) = (ours, row.ratio, &row.against) {
            let _ = write!(label, " ({:.1}x {against})", ratio.median);
        }
        let _ = writeln!(
            body,
            r#"<rect x="{LEFT}" y="{y}" width="{bar:.1}" height="{BAR}" rx="2" fill="{}"/><path class="spread" d="M{from:.1} {middle}H{to:.1}"/><text{} x="{:.1}" y="{}">{}</text>"#,
            colour(results, &cell.rival),
            if ours { r#" class="ours""# } else { "" },
            to.max(LEFT as f64 + bar) + 5.0,
            y + BAR - 2,
            escape(&label)
        );
        y += BAR_STEP;
    }
    y + GROUP_GAP
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::results;

    /// Fails unless every element that is opened is closed, in order, and every attribute is quoted.
    fn check_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a stray '>' in {}", &rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "<{tag}>");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?}");
        for ampersand in svg.match_indices('&').map(|(at, _)| &svg[at..]) {
            assert!(["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|entity| ampersand.starts_with(entity)));
        }
    }

    #[test]
    fn the_chart_is_well_formed_and_has_every_bar() {
        let mut results = results();
        results.contenders[1].title = "a <b> & \"c\"".to_owned();
        let svg = draw(&results);
        check_well_formed(&svg);
        let bars =
            results.rows.iter().filter(|row| row.shape != Shape::Latency).map(|row| row.cells.len()).sum::<usize>();
        assert_eq!(svg.matches("<rect").count(), bars + results.contenders.len());
        assert!(svg.contains("1.78M (8.1x redis)") && svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn nothing_measured_is_still_a_chart() {
        let mut results = results();
        results.rows.clear();
        check_well_formed(&draw(&results));
    }
}
