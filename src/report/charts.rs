//! Charts as SVG, in the colours of the page that contains them.

use plotters::prelude::*;

const SIZE: (u32, u32) = (560, 200);
/// A chart has room for at least so many bars, so that a single day does not look like a wall.
const FEWEST: i32 = 7;
/// Placeholder colours, replaced by those of the page's style; nothing else in a chart uses them.
const INK: (RGBColor, &str) = (RGBColor(1, 2, 3), "#010203");
const BAR: (RGBColor, &str) = (RGBColor(4, 5, 6), "#040506");
const LIMIT: (RGBColor, &str) = (RGBColor(7, 8, 9), "#070809");

/// Bars with their names below, and a line for the limit, if there is one. A chart that cannot be drawn is left out: tables have the numbers as well.
pub(super) fn bars(title: &str, bars: &[(String, u64)], limit: Option<u64>) -> String {
    let mut svg = String::new();
    if bars.is_empty() || draw(&mut svg, bars, limit).is_err() {
        return String::new();
    }
    let most = bars.iter().max_by_key(|(_, value)| *value);
    let said = most.map_or_else(String::new, |(name, value)| {
        format!("{title}: {} bars, the highest is {value} ({name})", bars.len())
    });
    svg.replace(INK.1, "currentColor")
        .replace(BAR.1, "var(--bar)")
        .replace(LIMIT.1, "var(--limit)")
        .replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{said}\" "), 1)
}

fn draw(
    svg: &mut String,
    bars: &[(String, u64)],
    limit: Option<u64>,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>> {
    let most = bars
        .iter()
        .map(|(_, value)| *value)
        .chain(limit)
        .max()
        .unwrap_or(0)
        .max(1);
    let last = i32::try_from(bars.len()).unwrap_or(i32::MAX).max(FEWEST);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        // Room for half of the last name.
        .margin_right(40)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0..last, 0..most + most / 20 + 1)?;
    let font = ("sans-serif", 12).into_font().color(&INK.0);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.0.mix(0.15))
        .axis_style(INK.0.mix(0.5))
        .label_style(font)
        .x_labels(6)
        .y_labels(4)
        .x_label_formatter(&|n| {
            let bar = usize::try_from(*n).ok().and_then(|n| bars.get(n));
            bar.map_or_else(String::new, |(name, _)| name.clone())
        })
        .draw()?;
    chart.draw_series((0..last).zip(bars).map(|(n, (_, value))| {
        let mut bar = Rectangle::new([(n, 0), (n + 1, *value)], BAR.0.filled());
        bar.set_margin(0, 0, 0, 1);
        bar
    }))?;
    if let Some(limit) = limit {
        chart.draw_series(LineSeries::new(
            [(0, limit), (last, limit)],
            LIMIT.0.stroke_width(2),
        ))?;
    }
    area.present()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_bars_in_the_colours_of_the_page() {
        let named = |values: &[u64]| -> Vec<(String, u64)> {
            values
                .iter()
                .enumerate()
                .map(|(n, value)| (format!("day {n}"), *value))
                .collect()
        };
        let svg = bars("Meetings", &named(&[3, 0, 5]), Some(9));
        assert_eq!(svg.matches("var(--bar)").count(), 3, "{svg}");
        assert!(
            svg.contains("var(--limit)") && svg.contains("currentColor"),
            "{svg}"
        );
        assert!(
            svg.contains("aria-label=\"Meetings: 3 bars, the highest is 5 (day 2)\""),
            "{svg}"
        );
        assert!(!svg.contains("#0"), "{svg}");
        assert_eq!(bars("Nothing", &[], None), "");
        // The extremes: one bar of zero, and many large ones.
        assert!(bars("Zero", &named(&[0]), None).contains("<svg"));
        assert!(bars("Many", &named(&[u64::MAX / 4; 400]), None).contains("<svg"));
    }
}
