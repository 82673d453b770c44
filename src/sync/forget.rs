//! `forget`: identifies what to forget. One transaction then erases it and stores digests, so that it is not kept again.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};

use super::Error;
use crate::{
    catalog::{self, Catalog, Erased, KnownBackup, Rules, RunId},
    model::{Detail, Forgotten, ForgottenKind, Host, HostId, MeetingUuid, Row},
    privacy::{Policy, Screen, replace_words},
};

/// What to forget. There is no `Debug`, so that the person appears in no log.
#[derive(Clone, PartialEq, Eq)]
pub enum ForgetTarget {
    /// The person with this email, as a participant and as a host.
    Email(String),
    /// The person with this id: `id`, `participant_user_id`, `participant_uuid` or `registrant_id`.
    Participant(String),
    /// Everything that ended before this UTC day.
    Before(NaiveDate),
    /// Nobody: the current privacy policy is applied to all stored rows.
    Policy,
}

/// What was erased from the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetSummary {
    /// What was erased, or would be.
    pub erased: Erased,
    /// Whether the file was rewritten without the erased data; false while another program reads the catalog.
    pub scrubbed: bool,
    /// Copies that may still hold it.
    pub backups: Vec<KnownBackup>,
}

/// Erases data from the catalog. What the index holds of it is due afterwards. With `dry`, nothing is changed.
///
/// # Errors
/// If the catalog fails. Before the transaction ends nothing is erased; after it everything is. Then only the rewriting of the file remains, which
/// every later call also does.
pub fn forget(
    catalog: &mut Catalog,
    run: RunId,
    whom: &ForgetTarget,
    policy: &Policy,
    dry: bool,
    now: DateTime<Utc>,
) -> Result<ForgetSummary, Error> {
    let mut forgotten = catalog.forgotten()?;
    let mut plain = BTreeSet::new();
    match whom {
        ForgetTarget::Email(email) => {
            let email = email.trim().to_lowercase();
            let mut emails = BTreeSet::from([email.clone()]);
            emails.extend(policy.email_pseudonym(&email));
            let hosts = catalog.host_emails()?;
            let hosts: BTreeSet<HostId> = hosts
                .iter()
                .filter(|(_, known)| !known.is_disjoint(&emails))
                .map(|(id, _)| id.clone())
                .collect();
            remember_emails(&mut forgotten, &emails);
            remember_hosts(catalog, &mut forgotten, &hosts)?;
            plain.insert(email);
        }
        ForgetTarget::Participant(id) => {
            let id = id.trim();
            let screen = Screen::new(Policy::default(), forgotten.clone());
            for id in std::iter::once(id.to_owned()).chain(policy.pseudonym(id)) {
                let digest = screen.digest(ForgottenKind::Participant, &id);
                forgotten.digests.insert((ForgottenKind::Participant, digest));
            }
            let host = HostId::new(id);
            if catalog.host_emails()?.contains_key(&host) {
                remember_hosts(catalog, &mut forgotten, &BTreeSet::from([host]))?;
            }
        }
        ForgetTarget::Before(day) => forgotten.before = forgotten.before.max(Some(*day)),
        ForgetTarget::Policy => {}
    }
    let policy = match whom {
        ForgetTarget::Policy => policy.clone(),
        ForgetTarget::Email(_) | ForgetTarget::Participant(_) | ForgetTarget::Before(_) => Policy::default(),
    };
    let rules = Applied {
        screen: Screen::new(policy, forgotten.clone()),
        plain,
    };
    let erased = catalog.forget(run, &forgotten, &rules, dry, now)?;
    Ok(ForgetSummary {
        erased,
        scrubbed: dry || catalog.scrub()?,
        backups: catalog.known_backups()?,
    })
}

fn remember_emails(forgotten: &mut Forgotten, emails: &BTreeSet<String>) {
    let screen = Screen::new(Policy::default(), forgotten.clone());
    for email in emails {
        let digest = screen.digest(ForgottenKind::Email, email);
        forgotten.digests.insert((ForgottenKind::Email, digest));
    }
}

/// Remembers hosts by their id, by every email they had, and by those of their meetings that Zoom lists without an email.
fn remember_hosts(
    catalog: &Catalog,
    forgotten: &mut Forgotten,
    hosts: &BTreeSet<HostId>,
) -> Result<(), catalog::Error> {
    let emails = catalog.host_emails()?;
    for host in hosts {
        if let Some(emails) = emails.get(host) {
            remember_emails(forgotten, emails);
        }
    }
    let screen = Screen::new(Policy::default(), forgotten.clone());
    let ids = hosts.iter().map(HostId::as_str);
    let meetings = catalog.meetings_without_email(hosts)?;
    let named = ids
        .flat_map(|id| [(ForgottenKind::Host, id), (ForgottenKind::Participant, id)])
        .chain(
            meetings
                .iter()
                .map(|uuid| (ForgottenKind::Meeting, uuid.as_str())),
        );
    for (kind, value) in named {
        forgotten.digests.insert((kind, screen.digest(kind, value)));
    }
    Ok(())
}

/// The rules that the catalog applies to all stored rows.
struct Applied {
    screen: Screen,
    /// The requested emails in plain text, as they may appear in a remark.
    plain: BTreeSet<String>,
}

impl Rules for Applied {
    fn meeting(&self, uuid: &MeetingUuid, host_id: Option<&HostId>, row: &Row) -> Row {
        self.screen.meeting(uuid, host_id, row)
    }

    fn detail(&self, detail: Detail) -> Detail {
        self.screen.detail(detail)
    }

    fn host(&self, host: &mut Host) {
        self.screen.host(host);
    }

    fn series_topic(
        &self,
        host_id: Option<&HostId>,
        host_erased: bool,
        names: &BTreeSet<String>,
        topic: &mut String,
    ) {
        let erased = host_erased || host_id.is_some_and(|id| self.screen.is_forgotten_host(id));
        self.screen.series_topic(erased, names, topic);
    }

    fn remark(&self, erased: &BTreeSet<String>, remark: &mut String) {
        for word in self.plain.iter().chain(erased) {
            *remark = replace_words(remark, word, "(erased)");
        }
    }
}
