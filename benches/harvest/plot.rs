//! The two plots of `docs/performance.md`. Dark on white, so that they can be read on any background.

use std::path::PathBuf;

use plotters::prelude::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Draws each figure as a multiple of the floor, one bar each.
pub fn ratios(ratios: &[(&str, f64)]) {
    let path = file("performance-ratios.svg");
    let root = SVGBackend::new(&path, (720, 75 + 36 * ratios.len() as u32)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let most = ratios.iter().map(|(_, ratio)| *ratio).fold(1.5, f64::max) * 1.1;
    let rows = ratios.len();
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(170)
        .build_cartesian_2d(0.0..most, (0..rows - 1).into_segmented())
        .unwrap();
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(n) => ratios.get(rows - 1 - n).map_or("", |(what, _)| what).to_owned(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&name)
        .x_desc("times the floor")
        .label_style(("sans-serif", 14))
        .draw()
        .unwrap();
    let bars = ratios.iter().rev().enumerate().map(|(n, (_, ratio))| {
        let corners = [
            (0.0, SegmentValue::Exact(n)),
            (*ratio, SegmentValue::Exact(n + 1)),
        ];
        let mut bar = Rectangle::new(corners, RGBColor(47, 111, 179).filled());
        bar.set_margin(5, 5, 0, 0);
        bar
    });
    chart.draw_series(bars).unwrap();
    let floor = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Exact(rows))];
    chart
        .draw_series(LineSeries::new(floor, BLACK.stroke_width(2)))
        .unwrap();
    root.present().unwrap();
}

/// Draws what an unchanged day costs as the catalog grows: milliseconds and megabytes, by the number of meetings.
pub fn growth(points: &[(u64, f64, f64)]) {
    let path = file("performance-growth.svg");
    let root = SVGBackend::new(&path, (720, 320)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let most = points.iter().map(|(_, ms, mb)| ms.max(*mb)).fold(10.0, f64::max) * 1.3;
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .margin_right(40)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d((first..last).log_scale(), 0.0..most)
        .unwrap();
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("meetings in the catalog")
        .x_label_formatter(&|n: &u64| format!("{n}"))
        .label_style(("sans-serif", 14))
        .draw()
        .unwrap();
    let mut line = |name: &str, color: RGBColor, of: fn(&(u64, f64, f64)) -> f64| {
        let places: Vec<(u64, f64)> = points.iter().map(|one| (one.0, of(one))).collect();
        chart
            .draw_series(LineSeries::new(places, color.stroke_width(3)).point_size(4))
            .unwrap()
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(3)));
    };
    line(
        "milliseconds of an unchanged day",
        RGBColor(47, 111, 179),
        |one| one.1,
    );
    line("megabytes at its peak", RGBColor(200, 90, 30), |one| one.2);
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .label_font(("sans-serif", 14))
        .draw()
        .unwrap();
    root.present().unwrap();
}
