//! What a run's end adds to the index: the verdict's findings, and the cases that went both ways.

use std::collections::BTreeMap;

use sqlx::Row as _;

use crate::model::outcome::Sense;
use crate::model::{CaseId, CellResult, Verdict};
use crate::store::StoreError;
use crate::store::runs::RunDir;

use super::{Writer, words};

impl Writer {
    pub(super) async fn flakes(
        &mut self,
        cell: i64,
        result: &CellResult,
    ) -> Result<(), StoreError> {
        let mut tally: BTreeMap<&CaseId, (i64, i64)> = BTreeMap::new();
        for attempt in result.attempts.iter().filter(|a| a.counts()) {
            let one = tally.entry(&attempt.case).or_default();
            match attempt.outcome.sense() {
                Sense::Bad => *one = (one.0 + 1, one.1 + 1),
                Sense::Good => one.1 += 1,
                Sense::Silent => {}
            }
        }
        for (case, (bad, total)) in tally {
            if bad == 0 || bad == total {
                continue;
            }
            let case = self.case(case).await?;
            let failed = self.failed("write");
            sqlx::query("INSERT OR REPLACE INTO flake VALUES (?, ?, ?, ?)")
                .bind(case)
                .bind(cell)
                .bind(bad)
                .bind(total)
                .execute(&mut self.db)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    pub(super) async fn findings(&mut self, run: i64, dir: &RunDir) -> Result<(), StoreError> {
        let failed = self.failed("write");
        sqlx::query("DELETE FROM finding WHERE run = ?")
            .bind(run)
            .execute(&mut self.db)
            .await
            .map_err(failed)?;
        // The report is written after the last event and may not be there yet: [`Self::late_findings`].
        let Some(verdict) = dir.verdict() else {
            return Ok(());
        };
        self.verdict(run, &verdict).await
    }

    /// The findings of a run whose log was read to its end before its report was there.
    pub(super) async fn late_findings(&mut self, run: i64, dir: &RunDir) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let missing: bool = sqlx::query(
            "SELECT findings > (SELECT count(*) FROM finding WHERE run = ?1) FROM run WHERE id = ?1",
        )
        .bind(run)
        .fetch_one(&mut self.db)
        .await
        .map_err(failed)?
        .get(0);
        let Some(verdict) = missing.then(|| dir.verdict()).flatten() else {
            return Ok(());
        };
        self.begin().await?;
        self.verdict(run, &verdict).await?;
        self.commit().await
    }

    async fn verdict(&mut self, run: i64, verdict: &Verdict) -> Result<(), StoreError> {
        for (n, finding) in verdict.findings.iter().enumerate() {
            let suite = self.text(&finding.suite).await?;
            let sentence = self.text(&finding.sentence).await?;
            let case = match &finding.case {
                Some(case) => Some(self.case(case).await?),
                None => None,
            };
            let failed = self.failed("write");
            sqlx::query("INSERT OR REPLACE INTO finding VALUES (?, ?, ?, ?, ?, ?, ?)")
                .bind(run)
                .bind(n as i64)
                .bind(words::of_kind(finding.kind))
                .bind(words::of_news(finding.news))
                .bind(suite)
                .bind(case)
                .bind(sentence)
                .execute(&mut self.db)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
}
