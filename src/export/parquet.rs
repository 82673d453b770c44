//! Parquet: one column per field, compressed with zstd, in row groups that bound the memory it takes.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::{Cell, Column, ColumnType, Sink, cells, columns};
use crate::model::{Document, IndexKind};

/// Rows in a row group. A whole group is held in memory until it is written.
const GROUP_ROWS: usize = 5_000;

/// Writes Parquet.
pub struct Parquet<W: Write + Send> {
    columns: Vec<Column>,
    writer: SerializedFileWriter<W>,
    /// The cells of the group that is not written yet, column by column.
    held: Vec<Vec<Option<Cell>>>,
    rows: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(index: IndexKind, writer: W) -> io::Result<Self> {
        let columns = columns(index);
        let types: Result<Vec<_>, _> = columns.iter().map(|column| typed(column).map(Arc::new)).collect();
        let schema = Type::group_type_builder(index.as_str())
            .with_fields(types.map_err(io::Error::other)?)
            .build()
            .map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("zoom-harvester ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(writer, Arc::new(schema), Arc::new(properties));
        Ok(Self {
            held: vec![Vec::new(); columns.len()],
            columns,
            writer: writer.map_err(io::Error::other)?,
            rows: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), parquet::errors::ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for cells in &mut self.held {
            let cells = std::mem::take(cells);
            let Some(mut column) = group.next_column()? else {
                break;
            };
            let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
            let present = cells.into_iter().flatten();
            match column.untyped() {
                ColumnWriter::BoolColumnWriter(writer) => {
                    let values: Vec<bool> = present.filter_map(truth).collect();
                    writer.write_batch(&values, Some(&levels), None)?;
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let values: Vec<i64> = present.filter_map(whole).collect();
                    writer.write_batch(&values, Some(&levels), None)?;
                }
                ColumnWriter::DoubleColumnWriter(writer) => {
                    let values: Vec<f64> = present.filter_map(number).collect();
                    writer.write_batch(&values, Some(&levels), None)?;
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let values: Vec<ByteArray> = present.filter_map(text).collect();
                    writer.write_batch(&values, Some(&levels), None)?;
                }
                // No column has another type.
                _ => {}
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

fn truth(cell: Cell) -> Option<bool> {
    if let Cell::Boolean(truth) = cell {
        Some(truth)
    } else {
        None
    }
}

fn whole(cell: Cell) -> Option<i64> {
    match cell {
        Cell::Integer(number) | Cell::Time(number) => Some(number),
        _ => None,
    }
}

fn number(cell: Cell) -> Option<f64> {
    if let Cell::Number(number) = cell {
        Some(number)
    } else {
        None
    }
}

fn text(cell: Cell) -> Option<ByteArray> {
    if let Cell::Text(text) = cell {
        Some(text.as_str().into())
    } else {
        None
    }
}

fn typed(column: &Column) -> Result<Type, parquet::errors::ParquetError> {
    let (physical, logical) = match column.of {
        ColumnType::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Integer => (PhysicalType::INT64, None),
        ColumnType::Number => (PhysicalType::DOUBLE, None),
        ColumnType::Boolean => (PhysicalType::BOOLEAN, None),
        ColumnType::Time => (
            PhysicalType::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
    };
    Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn put(&mut self, document: &Document) -> io::Result<()> {
        for (held, cell) in self.held.iter_mut().zip(cells(&self.columns, document)?) {
            held.push(cell);
        }
        self.rows += 1;
        if self.rows < GROUP_ROWS {
            return Ok(());
        }
        self.write_group().map_err(io::Error::other)
    }

    fn end(mut self: Box<Self>) -> io::Result<()> {
        self.write_group().map_err(io::Error::other)?;
        self.writer.close().map_err(io::Error::other)?;
        Ok(())
    }
}
