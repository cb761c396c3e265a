package config

import "path/filepath"

// The roots of what pgtwin keeps. What is under runRoot is gone after a boot.
const (
	runRoot   = "/run/pgtwin"
	stateRoot = "/var/lib/pgtwin"
)

// RunDir is the directory of an instance's volatile files. Names come from
// Instance.Name or have passed CheckName: they cannot lead out of it.
func RunDir(name string) string { return filepath.Join(runRoot, name) }

// InstanceFile holds the Instance as TOML, written by the agent.
func InstanceFile(name string) string { return filepath.Join(RunDir(name), "instance.toml") }

// Ticket is the permission to start the database, written by the agent.
func Ticket(name string) string { return filepath.Join(RunDir(name), "ticket") }

// Intent says what the agent wants of the next activation.
func Intent(name string) string { return filepath.Join(RunDir(name), "intent") }

// Grant exists once Pacemaker has promoted this host while its activation
// waited to be chosen.
func Grant(name string) string { return filepath.Join(RunDir(name), "grant") }

// AcceptLoss exists while the administrator accepts that this host is promoted
// although commits may be missing: until the promotion, or the next boot.
func AcceptLoss(name string) string { return filepath.Join(RunDir(name), "accept-data-loss") }

// ProgressFile holds a control.Progress as JSON.
func ProgressFile(name string) string { return filepath.Join(RunDir(name), "progress.json") }

// RepairsFile holds ha.Repairs as JSON while replication had to be repaired.
func RepairsFile(name string) string { return filepath.Join(RunDir(name), "repairs.json") }

// LoweringFile holds the epoch in which the database was last started with hot_standby=off: it is tried
// once an epoch.
func LoweringFile(name string) string { return filepath.Join(RunDir(name), "lowering.json") }

// StatusFile holds a control.State as JSON.
func StatusFile(name string) string { return filepath.Join(RunDir(name), "status.json") }

// ControlSocket is where the supervisor answers.
func ControlSocket(name string) string { return filepath.Join(RunDir(name), "control.sock") }

// PassFileCopy is the copy of the password file that libpq reads: owned by the
// owner of the data directory, and visible in a container.
func PassFileCopy(name string) string { return filepath.Join(RunDir(name), "passfile") }

// StateDir is the directory of what an instance must remember across a boot.
func StateDir(name string) string { return filepath.Join(stateRoot, name) }

// ConfDir holds the configuration that PostgreSQL is started with. It is
// readable by the owner of the data directory.
func ConfDir(name string) string { return filepath.Join(StateDir(name), "conf") }

// PostgresConf is PostgreSQL's config_file: it includes the administrator's
// postgresql.conf and then ManagedConf.
func PostgresConf(name string) string { return filepath.Join(ConfDir(name), "postgresql.conf") }

// ManagedConf holds the settings that pgtwin decides.
func ManagedConf(name string) string { return filepath.Join(ConfDir(name), "managed.conf") }

// HBAConf is PostgreSQL's hba_file.
func HBAConf(name string) string { return filepath.Join(ConfDir(name), "pg_hba.conf") }

// IdentConf is PostgreSQL's ident_file.
func IdentConf(name string) string { return filepath.Join(ConfDir(name), "pg_ident.conf") }

// StandInFile holds instance.StandIns as JSON: for which of the administrator's configuration files the
// copies stand in that PostgreSQL last read without an error.
func StandInFile(name string) string { return filepath.Join(StateDir(name), "stand-ins.json") }

// ReachFile holds instance.Reach as JSON: the addresses of the hosts of a database, as last resolved.
func ReachFile(name string) string { return filepath.Join(StateDir(name), "reach.json") }

// MarkerFile exists while a rewind or a clone has begun and is not complete: the
// data directory must not be started.
func MarkerFile(name string) string { return filepath.Join(StateDir(name), "half-done") }

// FounderFile exists while no promotion is recorded and the data were a
// primary's when they were taken over.
func FounderFile(name string) string { return filepath.Join(StateDir(name), "founder") }

// MountFile says where the file system of the data directory was mounted when
// there were data.
func MountFile(name string) string { return filepath.Join(StateDir(name), "mounted-at") }

// EpochFile keeps the latest epoch that this host has seen.
func EpochFile(name string) string { return filepath.Join(StateDir(name), "epoch") }

// CollationFile holds the instance.CollationRecord as JSON: the versions of the collations in use.
func CollationFile(name string) string { return filepath.Join(StateDir(name), "collations.json") }

// HistoryFile holds control.Events, one a line.
func HistoryFile(name string) string { return filepath.Join(StateDir(name), "history.jsonl") }

// CrashFile counts the crashes of the database.
func CrashFile(name string) string { return filepath.Join(StateDir(name), "crashes.json") }

// Paths are where pgtwin.toml is read from, the later over the earlier: the
// distribution's, and the administrator's.
func Paths() []string { return []string{"/usr/etc/pgtwin/pgtwin.toml", "/etc/pgtwin/pgtwin.toml"} }
