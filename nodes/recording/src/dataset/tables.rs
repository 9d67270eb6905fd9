//! Parquet files of a dataset: rows, episodes, tasks, as `datasets` and pandas expect them.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeListArray, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};

use super::info::FeatureInfo;
use super::stats::Stats;

/// Rows gathered before they are handed to the writer.
pub(super) const BATCH_ROWS: usize = 64;
/// A row group with more compressed bytes than this is closed, so that pictures do not fill the memory.
const GROUP_BYTES: usize = 64 << 20;

/// One column of some rows.
#[derive(Debug)]
pub(super) enum Column {
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    Picture(Vec<Vec<u8>>),
}

/// Writes the rows of one episode.
pub(super) struct RowWriter {
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
}

impl RowWriter {
    /// Starts a file with the columns named, in their order; videos have no column.
    pub(super) fn create(path: &Path, features: &[(String, FeatureInfo)]) -> Result<Self, ParquetError> {
        let columns: Vec<_> = features.iter().filter(|(_, feature)| !feature.is_video()).collect();
        let fields: Fields =
            columns.iter().map(|(key, feature)| Field::new(key, arrow_type(feature), true)).collect();
        let described: Vec<(String, Value)> =
            columns.iter().map(|(key, feature)| (key.clone(), hugging_face(feature))).collect();
        let described = super::info::Ordered(described);
        let metadata = serde_json::to_string(&described).unwrap_or_default();
        let metadata = format!("{{\"info\": {{\"features\": {metadata}}}}}");
        let (schema, mut properties) = described_by(Schema::new(fields), "huggingface", metadata);
        for (key, _) in columns.iter().filter(|(_, feature)| feature.is_picture()) {
            // Every picture differs: a dictionary would hold them all in memory, and minima mean nothing.
            let bytes = ColumnPath::new(vec![key.clone(), "bytes".to_owned()]);
            properties = properties
                .set_column_dictionary_enabled(bytes.clone(), false)
                .set_column_statistics_enabled(bytes.clone(), EnabledStatistics::None)
                .set_column_compression(bytes, Compression::UNCOMPRESSED);
        }
        let writer = ArrowWriter::try_new(File::create(path)?, schema.clone(), Some(properties.build()))?;
        Ok(Self { schema, writer })
    }

    /// Appends rows, given column by column in the order of the features.
    pub(super) fn write(&mut self, columns: Vec<Column>) -> Result<(), ParquetError> {
        let mut arrays = Vec::with_capacity(columns.len());
        for (column, field) in columns.into_iter().zip(self.schema.fields()) {
            arrays.push(array(column, field.data_type())?);
        }
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), arrays)?)?;
        if self.writer.in_progress_size() > GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Writes the footer and syncs.
    pub(super) fn finish(self) -> Result<(), ParquetError> {
        self.writer.into_inner()?.sync_all()?;
        Ok(())
    }
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(None)
        .set_created_by(concat!("pixio ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// A file whose metadata say something under a key: in Arrow's schema, where newer versions of pyarrow look only, and beside it,
/// where others do.
fn described_by(schema: Schema, key: &str, value: String) -> (Arc<Schema>, WriterPropertiesBuilder) {
    let pair = KeyValue::new(key.to_owned(), value.clone());
    let schema = schema.with_metadata(HashMap::from([(key.to_owned(), value)]));
    (Arc::new(schema), properties().set_key_value_metadata(Some(vec![pair])))
}

fn element(dtype: &str) -> DataType {
    match dtype {
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "bool" => DataType::Boolean,
        "string" => DataType::Utf8,
        _ => DataType::Int64,
    }
}

fn picture_fields() -> Fields {
    vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)].into()
}

fn arrow_type(feature: &FeatureInfo) -> DataType {
    if feature.is_picture() {
        return DataType::Struct(picture_fields());
    }
    match feature.shape.as_slice() {
        [1] => element(&feature.dtype),
        shape => {
            let item = Arc::new(Field::new("element", element(&feature.dtype), true));
            DataType::FixedSizeList(item, shape.iter().product::<usize>() as i32)
        }
    }
}

/// The description that `datasets` keeps in the schema.
fn hugging_face(feature: &FeatureInfo) -> Value {
    if feature.is_picture() {
        return json!({"_type": "Image"});
    }
    let value = json!({"dtype": feature.dtype, "_type": "Value"});
    match feature.shape.as_slice() {
        [1] => value,
        shape => json!({"feature": value, "length": shape.iter().product::<usize>(), "_type": "List"}),
    }
}

fn array(column: Column, data_type: &DataType) -> Result<ArrayRef, ParquetError> {
    let flat: ArrayRef = match column {
        Column::Float32(values) => numbers::<Float32Type>(values),
        Column::Float64(values) => numbers::<Float64Type>(values),
        Column::Int64(values) => numbers::<Int64Type>(values),
        Column::Bool(values) => Arc::new(BooleanArray::from(values)),
        Column::Text(values) => Arc::new(StringArray::from_iter_values(values)),
        Column::Picture(values) => {
            let paths = StringArray::from(vec![None::<&str>; values.len()]);
            let arrays: Vec<ArrayRef> =
                vec![Arc::new(BinaryArray::from_iter_values(values)), Arc::new(paths)];
            Arc::new(StructArray::try_new(picture_fields(), arrays, None)?)
        }
    };
    match data_type {
        DataType::FixedSizeList(item, length) => {
            Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *length, flat, None)?))
        }
        _ => Ok(flat),
    }
}

fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef
where
    PrimitiveArray<T>: From<Vec<T::Native>>,
{
    Arc::new(PrimitiveArray::<T>::from(values))
}

/// One row of `meta/episodes`.
#[derive(Debug)]
pub(super) struct EpisodeRow<'a> {
    pub(super) episode: u64,
    pub(super) task: &'a str,
    pub(super) frames: u64,
    /// `index` of its first frame.
    pub(super) from: u64,
    /// Of the data, and of each video: chunk and file.
    pub(super) data: (u64, u64),
    pub(super) videos: Vec<(&'a str, (u64, u64))>,
    pub(super) fps: u32,
    pub(super) stats: Vec<(&'a str, &'a Stats, bool)>,
    /// Of this very file.
    pub(super) meta: (u64, u64),
}

/// Writes a file of `meta/episodes` with one row.
pub(super) fn write_episode(path: &Path, row: &EpisodeRow<'_>) -> Result<(), ParquetError> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let int = |value: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![value as i64])) };
    columns.push(("episode_index".to_owned(), int(row.episode)));
    let task: ArrayRef = Arc::new(StringArray::from_iter_values([row.task]));
    columns.push(("tasks".to_owned(), list(task)?));
    columns.push(("length".to_owned(), int(row.frames)));
    columns.push(("data/chunk_index".to_owned(), int(row.data.0)));
    columns.push(("data/file_index".to_owned(), int(row.data.1)));
    columns.push(("dataset_from_index".to_owned(), int(row.from)));
    columns.push(("dataset_to_index".to_owned(), int(row.from + row.frames)));
    for (key, (chunk, file)) in &row.videos {
        columns.push((format!("videos/{key}/chunk_index"), int(*chunk)));
        columns.push((format!("videos/{key}/file_index"), int(*file)));
        let seconds = |value: f64| -> ArrayRef { Arc::new(PrimitiveArray::<Float64Type>::from(vec![value])) };
        columns.push((format!("videos/{key}/from_timestamp"), seconds(0.0)));
        columns.push((format!("videos/{key}/to_timestamp"), seconds(row.frames as f64 / f64::from(row.fps))));
    }
    for (key, stats, picture) in &row.stats {
        for (name, values) in stats.named() {
            columns.push((format!("stats/{key}/{name}"), stat(values, *picture)?));
        }
        columns.push((format!("stats/{key}/count"), list(int(stats.count))?));
    }
    columns.push(("meta/episodes/chunk_index".to_owned(), int(row.meta.0)));
    columns.push(("meta/episodes/file_index".to_owned(), int(row.meta.1)));
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?;
    write_batch(path, &batch, properties())
}

/// One list that holds the whole array.
fn list(values: ArrayRef) -> Result<ArrayRef, ParquetError> {
    let item = Arc::new(Field::new("element", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

/// A statistic: a list, or for pictures a list of channels of 1x1.
fn stat(values: &[f64], picture: bool) -> Result<ArrayRef, ParquetError> {
    let mut array: ArrayRef = Arc::new(PrimitiveArray::<Float64Type>::from(values.to_vec()));
    for _ in 0..if picture { 2 } else { 0 } {
        let item = Arc::new(Field::new("element", array.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(vec![1; values.len()]);
        array = Arc::new(ListArray::try_new(item, offsets, array, None)?);
    }
    list(array)
}

/// Writes `meta/tasks.parquet`: tasks in the order of their index, with the metadata by which pandas finds its index.
pub(super) fn write_tasks(path: &Path, tasks: &[String]) -> Result<(), ParquetError> {
    let column = |name: &str, pandas: &str, numpy: &str| {
        json!({"name": name, "field_name": name,
        "pandas_type": pandas, "numpy_type": numpy, "metadata": null})
    };
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": {"encoding": "UTF-8"}}],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": "21.0.0"},
        "pandas_version": "2.3.3",
    });
    let indexes: ArrayRef = Arc::new(Int64Array::from_iter_values(0..tasks.len() as i64));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(tasks));
    let columns = [("task_index", indexes, true), ("task", texts, true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let (schema, properties) = described_by(batch.schema().as_ref().clone(), "pandas", pandas.to_string());
    write_batch(path, &batch.with_schema(schema)?, properties)
}

fn write_batch(
    path: &Path,
    batch: &RecordBatch,
    properties: WriterPropertiesBuilder,
) -> Result<(), ParquetError> {
    let properties = properties.build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.into_inner()?.sync_all()?;
    Ok(())
}
