#![doc = "zoom-harvester keeps an Elasticsearch cluster in step with a Zoom account's meeting history."]
#![forbid(unsafe_code)]

pub mod catalog;
pub mod elastic;
pub mod model;
pub mod sync;
pub mod zoom;
