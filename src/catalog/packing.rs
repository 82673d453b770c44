//! Compression of what is kept: zstd, with dictionaries learned from the account's own rows.
//!
//! Packing and unpacking need no connection, so they run on other threads than the one that owns it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, Order, Query};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::{
    Catalog, Error,
    schema::{Dictionaries, Meetings, Payloads},
    sql::{all, execute, first},
};
use crate::model::{Checksum, Detail, MeetingUuid, Row, Source, iso};

/// With a dictionary, the lowest level compresses within a few per cent of the third, in half the time.
const LEVEL: i32 = 1;

/// The size of a dictionary in bytes: several times what the names and usual values of two or three rows take.
const DICTIONARY_BYTES: usize = 16 << 10;

/// The largest possible size of what is kept of one meeting, in bytes. Zoom's answers are read up to 16 MiB a page, and 1,000 participants fit into
/// a few pages. A file with a larger number is damaged.
const LARGEST_BYTES: usize = 1 << 30;

/// The maximum number of rows that are repacked when a dictionary is learned. Only a few hundred rows come before it.
const PACKED_ANEW: u64 = 2_000;

/// What a dictionary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackedKind {
    /// A meeting's row in a listing.
    Listing,
    /// A meeting's sessions.
    Detail,
}

impl PackedKind {
    const ALL: [Self; 2] = [Self::Listing, Self::Detail];

    fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Detail => "detail",
        }
    }
}

/// A compression dictionary: what the rows of an account have in common.
#[derive(Clone, Debug)]
pub struct Dictionary(Vec<u8>);

/// Learns a dictionary from rows. The rows must hold no personal values: the dictionary may contain any part of them, and outlives them.
///
/// # Errors
/// If the rows are too few or too much alike.
pub fn train(samples: &[Row]) -> Result<Dictionary, Error> {
    let samples: Vec<&[u8]> = samples.iter().map(|row| row.as_str().as_bytes()).collect();
    zstd::dict::from_samples(&samples, DICTIONARY_BYTES)
        .map(Dictionary)
        .map_err(|source| Error::Dictionary { source })
}

/// Compresses and decompresses with one dictionary, or without any; shared by all threads.
pub struct Packer {
    dictionary_id: Option<i64>,
    dictionary: Vec<u8>,
    // Creating a context costs as much as compressing a detail, so free ones are kept here for reuse.
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packer({:?})", self.dictionary_id)
    }
}

impl Packer {
    fn new(dictionary_id: Option<i64>, dictionary: Vec<u8>) -> Self {
        Self {
            dictionary_id,
            dictionary,
            compressors: Mutex::default(),
            decompressors: Mutex::default(),
        }
    }

    pub(super) fn dictionary_id(&self) -> Option<i64> {
        self.dictionary_id
    }

    pub(super) fn compress(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let free = free(&self.compressors).pop();
        let mut compressor = match free {
            Some(compressor) => compressor,
            None => {
                let mut compressor = Compressor::with_dictionary(LEVEL, &self.dictionary)?;
                // A column names the dictionary, so its id is left out of the data.
                compressor.set_parameter(CParameter::DictIdFlag(false))?;
                compressor
            }
        };
        let packed = compressor.compress(bytes);
        free_again(&self.compressors, compressor);
        packed
    }

    /// Returns the text, which must be `bytes` long.
    pub(super) fn decompress(&self, packed: &[u8], bytes: usize) -> io::Result<String> {
        // Checked before memory is allocated: a damaged number might request all of it.
        let said = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
        if bytes > LARGEST_BYTES || said != Some(bytes as u64) {
            let damaged = format!("it says that it holds {said:?} bytes, and {bytes} are noted beside it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
        }
        let free = free(&self.decompressors).pop();
        let mut decompressor = match free {
            Some(decompressor) => decompressor,
            None => Decompressor::with_dictionary(&self.dictionary)?,
        };
        let unpacked = decompressor.decompress(packed, bytes);
        free_again(&self.decompressors, decompressor);
        String::from_utf8(unpacked?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Prepares a detail for storage: hashes it, compresses it and extracts its sessions.
    ///
    /// # Errors
    /// If it cannot be compressed.
    pub fn pack(&self, detail: &Detail, fetched_for: &Checksum) -> Result<Packed, Error> {
        let payload = detail.payload();
        let packed = self
            .compress(payload.as_bytes())
            .map_err(|source| Error::Payload {
                uuid: detail.uuid.to_string(),
                source,
            })?;
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let sessions = detail.sessions();
        let all_left = sessions.iter().all(|session| session.left);
        let sessions = sessions.into_iter().map(|session| PackedSession {
            id: session_key(session.id.as_str()).unwrap_or_default(),
            user_name: some(&session.user_name),
            email: some(&session.email),
            join_time: session.join_time.map(|at| at.timestamp()),
            leave_time: session.leave_time.map(|at| at.timestamp()),
        });
        Ok(Packed {
            uuid: detail.uuid.clone(),
            fetched_for: fetched_for.clone(),
            checksum: detail.checksum(),
            missing: detail.missing,
            surplus: detail.surplus,
            repeated: detail.repeated,
            all_left,
            sessions: sessions.collect(),
            payload: packed,
            payload_bytes: payload.len(),
            dictionary_id: self.dictionary_id,
            source: Source::default(),
        })
    }
}

fn free<T>(pool: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    // A thread that panicked with this lock left a list of intact contexts.
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_again<T>(pool: &Mutex<Vec<T>>, one: T) {
    free(pool).push(one);
}

/// A detail, ready to be kept.
#[derive(Debug)]
pub struct Packed {
    /// The meeting.
    pub uuid: MeetingUuid,
    pub(super) fetched_for: Checksum,
    pub(super) checksum: Checksum,
    pub(super) missing: u64,
    pub(super) surplus: u64,
    pub(super) repeated: u64,
    pub(super) all_left: bool,
    pub(super) sessions: Vec<PackedSession>,
    pub(super) payload: Vec<u8>,
    pub(super) payload_bytes: usize,
    pub(super) dictionary_id: Option<i64>,
    /// The source from which it was fetched.
    pub(super) source: Source,
}

impl Packed {
    /// Sets the source from which the detail was fetched.
    #[must_use]
    pub fn from(self, source: Source) -> Self {
        Self { source, ..self }
    }
}

/// A session, as the table `sessions` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackedSession {
    pub id: [u8; 16],
    pub user_name: Option<String>,
    pub email: Option<String>,
    pub join_time: Option<i64>,
    pub leave_time: Option<i64>,
}

/// Decompresses a stored text of a meeting.
pub(super) fn unpacked(packer: &Packer, packed: &[u8], bytes: i64, uuid: &str) -> Result<String, Error> {
    packer
        .decompress(packed, usize::try_from(bytes).unwrap_or(usize::MAX))
        .map_err(|source| Error::Payload {
            uuid: uuid.to_owned(),
            source,
        })
}

/// The bytes of a session's id. `None` for an id that the harvester did not make.
pub(super) fn session_key(id: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes: &[u8; 32] = id.as_bytes().try_into().ok()?;
    let mut key = [0; 16];
    for (byte, pair) in key.iter_mut().zip(bytes.chunks(2)) {
        *byte = pair
            .iter()
            .try_fold(0, |value, one| Some(value << 4 | digit(*one)?))?;
    }
    Some(key)
}

/// The dictionaries of a catalog.
#[derive(Debug, Default)]
pub(super) struct Packers {
    present: BTreeMap<PackedKind, Arc<Packer>>,
    plain: Option<Arc<Packer>>,
    /// Those that were requested by their id.
    by_id: RefCell<BTreeMap<i64, Arc<Packer>>>,
}

impl Packers {
    /// Reads the newest dictionary of each kind.
    pub fn load(conn: &Connection) -> Result<Self, Error> {
        let mut packers = Self {
            plain: Some(Arc::new(Packer::new(None, Vec::new()))),
            ..Self::default()
        };
        for kind in PackedKind::ALL {
            let newest = Query::select()
                .column(Dictionaries::DictionaryId)
                .from(Dictionaries::Table)
                .and_where(Expr::col(Dictionaries::Kind).eq(kind.as_str()))
                .order_by(Dictionaries::DictionaryId, Order::Desc)
                .limit(1)
                .take();
            if let Some(id) = first(conn, &newest, |row| row.get(0))? {
                let packer = packers.by_id(conn, Some(id))?;
                packers.present.insert(kind, packer);
            }
        }
        Ok(packers)
    }

    /// The packer for new data.
    pub fn present(&self, kind: PackedKind) -> Arc<Packer> {
        let present = self.present.get(&kind).or(self.plain.as_ref());
        present.map_or_else(|| Arc::new(Packer::new(None, Vec::new())), Arc::clone)
    }

    /// The packer that something was packed with. Without an id, it is the one without a dictionary.
    pub fn by_id(&self, conn: &Connection, id: Option<i64>) -> Result<Arc<Packer>, Error> {
        let Some(id) = id else {
            return Ok(self
                .plain
                .as_ref()
                .map_or_else(|| Arc::new(Packer::new(None, Vec::new())), Arc::clone));
        };
        if let Some(packer) = self.by_id.borrow().get(&id) {
            return Ok(Arc::clone(packer));
        }
        let select = Query::select()
            .column(Dictionaries::Dictionary)
            .from(Dictionaries::Table)
            .and_where(Expr::col(Dictionaries::DictionaryId).eq(id))
            .take();
        let dictionary = first(conn, &select, |row| row.get(0))?.ok_or_else(|| {
            Error::Nonsense(format!(
                "something packed with the dictionary {id}, which is not there"
            ))
        })?;
        let packer = Arc::new(Packer::new(Some(id), dictionary));
        self.by_id.borrow_mut().insert(id, Arc::clone(&packer));
        Ok(packer)
    }
}

impl Catalog {
    /// The packer for new details. It may be used on any thread.
    pub fn packer(&self) -> Arc<Packer> {
        self.packers.present(PackedKind::Detail)
    }

    /// Whether a dictionary of that kind must still be learned.
    pub fn wants_samples(&self, kind: PackedKind) -> bool {
        !self.packers.present.contains_key(&kind)
    }

    /// Puts a dictionary into use, and repacks with it what was packed without one.
    ///
    /// # Errors
    /// If SQLite fails. Then the dictionary is not in use.
    pub fn adopt(
        &mut self,
        kind: PackedKind,
        dictionary: Dictionary,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.still_there()?;
        let tx = self.conn.transaction()?;
        let insert = Query::insert()
            .into_table(Dictionaries::Table)
            .columns([Dictionaries::Kind, Dictionaries::Dictionary, Dictionaries::MadeAt])
            .values_panic([kind.as_str().into(), dictionary.0.clone().into(), iso(now).into()])
            .take();
        execute(&tx, &insert)?;
        let packer = Arc::new(Packer::new(Some(tx.last_insert_rowid()), dictionary.0));
        let plain = self.packers.by_id(&tx, None)?;
        match kind {
            PackedKind::Listing => pack_listings_anew(&tx, &plain, &packer)?,
            PackedKind::Detail => pack_details_anew(&tx, &plain, &packer)?,
        }
        tx.commit()?;
        if let Some(id) = packer.dictionary_id {
            self.packers.by_id.borrow_mut().insert(id, Arc::clone(&packer));
        }
        self.packers.present.insert(kind, packer);
        Ok(())
    }
}

fn packed_anew(plain: &Packer, packer: &Packer, packed: &[u8], bytes: i64) -> Option<Vec<u8>> {
    let text = plain.decompress(packed, usize::try_from(bytes).ok()?).ok()?;
    packer.compress(text.as_bytes()).ok()
}

fn pack_listings_anew(conn: &Connection, plain: &Packer, packer: &Packer) -> Result<(), Error> {
    let select = Query::select()
        .columns([Meetings::MeetingId, Meetings::Listing, Meetings::ListingBytes])
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::ListingDictionary).is_null())
        .limit(PACKED_ANEW)
        .take();
    for (id, packed, bytes) in all(conn, &select, read_packed)? {
        // Unreadable data stays as it is. `catalog check` reports it.
        if let Some(anew) = packed_anew(plain, packer, &packed, bytes) {
            let update = Query::update()
                .table(Meetings::Table)
                .values([
                    (Meetings::Listing, anew.into()),
                    (Meetings::ListingDictionary, packer.dictionary_id.into()),
                ])
                .and_where(Expr::col(Meetings::MeetingId).eq(id))
                .take();
            execute(conn, &update)?;
        }
    }
    Ok(())
}

fn pack_details_anew(conn: &Connection, plain: &Packer, packer: &Packer) -> Result<(), Error> {
    let select = Query::select()
        .columns([Payloads::MeetingId, Payloads::Payload, Payloads::PayloadBytes])
        .from(Payloads::Table)
        .and_where(Expr::col(Payloads::DictionaryId).is_null())
        .limit(PACKED_ANEW)
        .take();
    for (id, packed, bytes) in all(conn, &select, read_packed)? {
        if let Some(anew) = packed_anew(plain, packer, &packed, bytes) {
            let update = Query::update()
                .table(Payloads::Table)
                .values([
                    (Payloads::Payload, anew.into()),
                    (Payloads::DictionaryId, packer.dictionary_id.into()),
                ])
                .and_where(Expr::col(Payloads::MeetingId).eq(id))
                .take();
            execute(conn, &update)?;
        }
    }
    Ok(())
}

fn read_packed(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Vec<u8>, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}
