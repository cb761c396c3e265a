// Package pg is what pgtwin knows of PostgreSQL 14 to 18: its control file, data directory,
// timelines, processes, sessions, settings and programs.
//
// It decides nothing, starts no program and no container, and knows neither Pacemaker nor systemd.
// Programs are argument vectors here; running them is the caller's.
package pg
