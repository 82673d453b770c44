//! The tables and columns of `migrations/`, by name: a misspelt column does not compile.

use sea_query::Iden;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($column:ident),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Iden)]
            #[allow(clippy::enum_variant_names, reason = "they are the columns' names")]
            pub(super) enum $table { Table, $($column),* }
        )*
    };
}

tables! {
    Account {
        AccountId, CatalogId, CreatedAt, Singleton, WholeListedAt, WantedFrom, DocumentForm, WebinarsRefusedAt, HistoryCheckedAt,
        HistoryAgrees,
    }
    Runs {
        RunId, Command, StartedAt, EndedAt, ExitCode, Message, Listings, New, Changed, Vanished, Details, Sessions,
        Failed, Published,
    }
    Windows { Day, Basis, Meetings, Changes, Listings, FirstListedAt, LastListedAt, SettledAt, Webinars }
    UnlistedDays { Day }
    Hosts { HostId, Email, Name, Dept, UserType, Status, RecordedAt, SeriesListedAt }
    HostLookups { HostKey, HostId, Status, MeetingUuid, AskedAt }
    Series { SeriesId, Kind, Status, Topic, HostId, FirstSeenAt, LookedUpAt }
    Dictionaries { DictionaryId, Kind, Dictionary, MadeAt }
    Meetings {
        MeetingId, MeetingUuid, SeriesId, HostKey, HostId, ListingType, Topic, HostName, HostEmail, StartTime, EndTime,
        DurationS, Participants, ListedDay, Status, ListedChecksum, ShownChecksum, FetchedFor, DetailChecksum,
        DocumentChecksum, IndexedChecksum, RejectedChecksum, Revision, Sessions, Reconciled, FirstListedAt, ChangedAt,
        FetchedAt, IndexedAt, VanishedAt, Attempts, LastAttemptRun, Failure, LookAgainStep, LookAgainAt, Incomplete, Doubt,
        Listing, ListingBytes, ListingDictionary, IndexYear, Source, Kind, OccurrenceId,
    }
    Payloads { MeetingId, Payload, PayloadBytes, DictionaryId }
    Sessions { MeetingId, SessionId, UserName, Email, JoinTime, LeaveTime }
    LostSessions { MeetingId, SessionId }
    Indices { Kind, Year, IndexName, IndexUuid, Stamp, PendingStamp, Adopted, RecordedAt }
    ApiUse { Day, Label, Requests, CountedMs }
    RecentRequests { SentMs }
    Forgetting { Salt, BeforeDay }
    Forgotten { Kind, Digest, ForgottenAt }
    DoomedDocuments { Year, Kind, DocumentId, Version }
    Changes { ChangeId, At, RunId, MeetingId, What, OldChecksum }
    Backups { Path, MadeAt, Bytes, Sha256, RunId }
}
