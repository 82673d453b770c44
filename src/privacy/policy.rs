//! The owner's policy: keep, drop or pseudonymise, for each field with personal data.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::model::{Checksum, PSEUDONYM, is_pseudonym};

/// The shortest key that a policy accepts, in bytes. It has 128 bits if the bytes are random.
pub const KEY_BYTES: usize = 16;

/// How a field is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// It is kept as Zoom sends it.
    #[default]
    Keep,
    /// It is left out.
    Drop,
    /// It is replaced by its HMAC-SHA-256 under the owner's key. The same value always gets the same pseudonym, and nobody can find the value
    /// without the key.
    Pseudonymise,
}

impl Treatment {
    /// The treatment with this name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "keep" => Some(Self::Keep),
            "drop" => Some(Self::Drop),
            "pseudonymise" => Some(Self::Pseudonymise),
            _ => None,
        }
    }
}

/// The kinds of personal data that a policy treats. Zoom's fields with the same meaning share a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A participant's display name, also where a reason for leaving names it.
    UserName,
    /// A participant's email.
    Email,
    /// `id`, `participant_user_id`, `registrant_id`, `customer_key`: they identify the same person in another meeting.
    ParticipantId,
    /// The public address.
    IpAddress,
    /// The addresses behind the public address.
    InternalIpAddresses,
    /// The network card.
    MacAddr,
    /// The hard disk.
    HarddiskId,
    /// The computer's name.
    PcName,
    /// The computer's domain.
    Domain,
    /// The device's name.
    DeviceName,
    /// `camera`, `microphone`, `speaker`: a headset may be called `Jill's AirPods`.
    AudioVideo,
    /// City and country.
    Location,
    /// `sip_uri`, `from_sip_uri`.
    SipUri,
    /// The phone number of a caller.
    AudioCall,
    /// The host's display name, also where a topic names it.
    HostName,
    /// The host's email.
    HostEmail,
    /// The host's department.
    Dept,
    /// The topic of a meeting and of its series.
    Topic,
    /// The values of `tracking_fields` and `custom_keys`.
    TrackingFields,
}

impl Field {
    /// All fields, each with its name in the configuration.
    pub const ALL: [(Self, &'static str); 19] = [
        (Self::UserName, "user_name"),
        (Self::Email, "email"),
        (Self::ParticipantId, "participant_id"),
        (Self::IpAddress, "ip_address"),
        (Self::InternalIpAddresses, "internal_ip_addresses"),
        (Self::MacAddr, "mac_addr"),
        (Self::HarddiskId, "harddisk_id"),
        (Self::PcName, "pc_name"),
        (Self::Domain, "domain"),
        (Self::DeviceName, "device_name"),
        (Self::AudioVideo, "audio_video"),
        (Self::Location, "location"),
        (Self::SipUri, "sip_uri"),
        (Self::AudioCall, "audio_call"),
        (Self::HostName, "host_name"),
        (Self::HostEmail, "host_email"),
        (Self::Dept, "dept"),
        (Self::Topic, "topic"),
        (Self::TrackingFields, "tracking_fields"),
    ];
}

/// The owner's policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    treatments: BTreeMap<Field, Treatment>,
    drop_unknown: bool,
    key: Option<SecretString>,
}

impl Policy {
    /// Makes a policy. Fields that are not named are kept. `None` if a field is to be pseudonymised and there is no key of at least [`KEY_BYTES`].
    pub fn new(
        treatments: BTreeMap<Field, Treatment>,
        drop_unknown: bool,
        key: Option<SecretString>,
    ) -> Option<Self> {
        let needed = treatments
            .values()
            .any(|treatment| *treatment == Treatment::Pseudonymise);
        let long_enough = key
            .as_ref()
            .is_some_and(|key| key.expose_secret().len() >= KEY_BYTES);
        (long_enough || !needed).then_some(Self {
            treatments,
            drop_unknown,
            key,
        })
    }

    /// How a field is treated.
    pub fn of(&self, field: Field) -> Treatment {
        self.treatments.get(&field).copied().unwrap_or_default()
    }

    /// Whether unknown fields are left out.
    pub(super) fn drops_unknown(&self) -> bool {
        self.drop_unknown
    }

    /// Whether everything is kept.
    pub fn keeps_all(&self) -> bool {
        !self.drop_unknown
            && self
                .treatments
                .values()
                .all(|treatment| *treatment == Treatment::Keep)
    }

    /// The pseudonym of an email, if there is a key. A pseudonym is kept unchanged.
    pub fn email_pseudonym(&self, email: &str) -> Option<String> {
        self.pseudonym(&email.trim().to_lowercase())
    }

    /// The pseudonym of any other value, if there is a key.
    pub fn pseudonym(&self, value: &str) -> Option<String> {
        let value = value.trim();
        if is_pseudonym(value) {
            return Some(value.to_owned());
        }
        let digest = keyed(self.key.as_ref()?.expose_secret(), value);
        Some(format!("{PSEUDONYM}{}", digest.as_str().get(..32)?))
    }
}

/// HMAC-SHA-256.
pub(super) fn keyed(key: &str, value: &str) -> Checksum {
    // A key of any length is accepted, so this cannot fail. If it did, nothing may match.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return Checksum::from_hex("");
    };
    mac.update(value.as_bytes());
    Checksum::from_digest(&mac.finalize().into_bytes())
}
