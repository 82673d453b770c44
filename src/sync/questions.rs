//! What listings leave open: whose meetings these are, and what their series are.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use chrono::NaiveDate;

use super::{
    Error,
    harvest::{Done, Harvest},
};
use crate::{
    catalog::HostQuestion,
    model::{Host, HostId, MeetingUuid, PastMeeting, SeriesRow, Window},
    zoom::{self, Zoom},
};

/// Questions about hosts and series at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// Hosts and series to ask about.
#[derive(Default)]
pub(super) struct Questions {
    pub reports: VecDeque<Window>,
    pub reported: BTreeSet<(NaiveDate, NaiveDate)>,
    pub reports_under_way: usize,
    pub asked_hosts: HashSet<(String, MeetingUuid)>,
    pub asked_series: HashSet<HostId>,
    pub under_way: usize,
    /// Whether the catalog may have new questions since it was last asked.
    pub stale: bool,
}

impl Harvest<'_> {
    pub(super) fn start_questions(&mut self, zoom: &Arc<Zoom>) -> Result<(), Error> {
        while let Some(window) = self.questions.reports.pop_front() {
            self.questions.reports_under_way += 1;
            let zoom = Arc::clone(zoom);
            self.jobs.push(Box::pin(async move {
                Done::Report(window, zoom.list_hosts(window).await)
            }));
        }
        // One report answers for all its hosts, so single questions wait until every report is in.
        let reports_done =
            self.days.queue.is_empty() && self.days.under_way == 0 && self.questions.reports_under_way == 0;
        if !reports_done || !self.questions.stale || self.questions.under_way >= QUESTIONS_AT_ONCE {
            return Ok(());
        }
        let before = self.questions.under_way;
        let asked = self.questions.asked_hosts.len() as u64;
        for question in self.catalog.unknown_hosts(asked + QUESTIONS_AT_ONCE as u64)? {
            if self.questions.under_way < QUESTIONS_AT_ONCE
                && self
                    .questions
                    .asked_hosts
                    .insert((question.host_key.clone(), question.uuid.clone()))
            {
                self.questions.under_way += 1;
                let zoom = Arc::clone(zoom);
                self.jobs.push(Box::pin(async move {
                    let answer = zoom.past_meeting(&question.uuid).await;
                    Done::HostAnswer(question, answer)
                }));
            }
        }
        let asked = self.questions.asked_series.len() as u64;
        for host in self
            .catalog
            .hosts_wanting_series(self.now(), asked + QUESTIONS_AT_ONCE as u64)?
        {
            if self.questions.under_way < QUESTIONS_AT_ONCE
                && self.questions.asked_series.insert(host.clone())
            {
                self.questions.under_way += 1;
                let zoom = Arc::clone(zoom);
                self.jobs.push(Box::pin(async move {
                    let series = zoom.list_series(&host).await;
                    Done::Series(host, series)
                }));
            }
        }
        self.questions.stale = self.questions.under_way > before;
        Ok(())
    }

    pub(super) fn host_answered(
        &mut self,
        question: &HostQuestion,
        result: Result<PastMeeting, zoom::Error>,
    ) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(PastMeeting {
                host_id: Some(host_id),
                user_email,
                user_name,
            }) => {
                let mut host = Host {
                    host_id,
                    email: user_email,
                    name: user_name,
                    dept: String::new(),
                    user_type: None,
                };
                self.screen_host(&mut host)?;
                self.catalog.record_host_answer(question, Some(&host), now)?;
            }
            Ok(PastMeeting { host_id: None, .. }) => self.catalog.record_host_answer(question, None, now)?,
            Err(zoom::Error::NotFound { .. } | zoom::Error::TooOld { .. }) => {
                self.catalog.record_host_answer(question, None, now)?;
            }
            Err(error) => self.side_problem(&format!("the host of meeting {}", question.uuid), &error),
        }
        Ok(())
    }

    pub(super) fn series_listed(
        &mut self,
        host: &HostId,
        result: Result<Vec<SeriesRow>, zoom::Error>,
    ) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(mut rows) => {
                self.screen.series(host, &mut rows);
                self.catalog.record_series(host, &rows, now)?;
            }
            Err(zoom::Error::NotFound { .. }) => self.catalog.record_no_series(host, true, now)?,
            Err(zoom::Error::HostNotAllowed { .. }) => self.catalog.record_no_series(host, false, now)?,
            Err(error) => self.side_problem(&format!("the series of host {host}"), &error),
        }
        Ok(())
    }
}
