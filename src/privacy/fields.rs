//! Which of Zoom's fields are personal data, and which are not. Source: Zoom's OpenAPI description, 2026-03.

use super::policy::Field;

/// A participant's fields that a policy may treat, by Zoom's names; `leave_reason` and `audio_call` have rules of their own.
pub(super) const OF_PARTICIPANTS: [(&str, Field); 19] = [
    ("user_name", Field::UserName),
    ("email", Field::Email),
    ("id", Field::ParticipantId),
    ("participant_user_id", Field::ParticipantId),
    ("registrant_id", Field::ParticipantId),
    ("customer_key", Field::ParticipantId),
    ("ip_address", Field::IpAddress),
    ("internal_ip_addresses", Field::InternalIpAddresses),
    ("mac_addr", Field::MacAddr),
    ("harddisk_id", Field::HarddiskId),
    ("pc_name", Field::PcName),
    ("domain", Field::Domain),
    ("device_name", Field::DeviceName),
    ("camera", Field::AudioVideo),
    ("microphone", Field::AudioVideo),
    ("speaker", Field::AudioVideo),
    ("location", Field::Location),
    ("sip_uri", Field::SipUri),
    ("from_sip_uri", Field::SipUri),
];

/// A participant's other fields that Zoom documents. They identify nobody: `user_id` and `participant_uuid` are made for one stay and are valid in
/// that meeting only. The screen treats `leave_reason` and `audio_call`, which may, separately.
pub(super) const OF_STAYS: [&str; 37] = [
    "aic_disclaimer",
    "as_connection_type",
    "audio_call",
    "audio_quality",
    "bo_mtg_id",
    "browser_name",
    "browser_version",
    "client",
    "connection_type",
    "data_center",
    "device",
    "full_data_center",
    "groupId",
    "has_archiving",
    "in_room_participants",
    "is_original_host",
    "join_time",
    "leave_reason",
    "leave_time",
    "network_type",
    "optional_archiving",
    "os",
    "os_version",
    "participant_uuid",
    "recording",
    "role",
    "screen_share_quality",
    "share_application",
    "share_desktop",
    "share_whiteboard",
    "status",
    "total_jointime_cost",
    "user_id",
    "version",
    "video_connection_type",
    "video_quality",
    "zoom_thin_client_plugin_version",
];

/// A listed meeting's fields that a policy may treat, by Zoom's names.
pub(super) const OF_HOSTS: [(&str, Field); 6] = [
    ("host", Field::HostName),
    ("email", Field::HostEmail),
    ("dept", Field::Dept),
    ("topic", Field::Topic),
    ("tracking_fields", Field::TrackingFields),
    ("custom_keys", Field::TrackingFields),
];

/// A listed meeting's other fields that Zoom documents.
pub(super) const OF_MEETINGS: [&str; 26] = [
    "audio_quality",
    "avg_jointime_cost",
    "duration",
    "end_time",
    "has_3rd_party_audio",
    "has_archiving",
    "has_automated_captions",
    "has_manual_captions",
    "has_meeting_summary",
    "has_poll",
    "has_pstn",
    "has_qa",
    "has_recording",
    "has_screen_share",
    "has_sip",
    "has_survey",
    "has_video",
    "has_voip",
    "id",
    "participants",
    "screen_share_quality",
    "session_key",
    "start_time",
    "user_type",
    "uuid",
    "video_quality",
];

/// Whether Zoom documents a field of this name for a listed meeting.
pub fn is_known_of_meetings(name: &str) -> bool {
    OF_MEETINGS.contains(&name) || OF_HOSTS.iter().any(|(known, _)| *known == name)
}

/// Whether Zoom documents a field of this name for a participant.
pub fn is_known_of_sessions(name: &str) -> bool {
    OF_STAYS.contains(&name) || OF_PARTICIPANTS.iter().any(|(known, _)| *known == name)
}
