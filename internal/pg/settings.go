package pg

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings is what pgtwin decides about a server's configuration.
type Settings struct {
	Name            string // of the instance: cluster_name and, after "pgtwin-", the name in the journal
	Major           int    // PostgreSQL's major version
	ConfDir         string // where our files are, as the server sees it
	PGData          string
	Port            int
	ListenAddresses string // "": the administrator's, or all
	SocketDir       string
	User            string // database superuser
	OSUser          string // operating system user of the server; "": the same name

	ReplicationUser  string
	ReplicationHosts []string // addresses or names it may come from; none: all
	ReplicationTLS   bool     // it comes by TLS only, because the server has it

	// Accepted are the files in whose place the copies stand that PostgreSQL last read without an error.
	Accepted []Kind

	Upstream    *Target  // nil: follows nobody
	Slot        string   // slot on the upstream, "" for none
	Synchronous []string // standbys whose flush every commit waits for; none: commits wait for nobody
	Spared      int      // how many of them, no matter which, a commit does not wait for
	First       bool     // those that come last are spared while the others are connected

	// Failover lets logical slots outlive a failover. For PostgreSQL 17 and later, and only where the
	// server is known to run with wal_level=logical: with another one its standby would not start.
	Failover          bool
	SynchronizedSlots []string // slots of the standbys that subscribers are not to get ahead of

	// SynchronousCommit is managed where commits wait for standbys: on or remote_apply. "" leaves it to
	// the administrator.
	SynchronousCommit string
	// Restore is the administrator's restore_command as Guarded has it, "" for none.
	Restore string
	Raised  []Raised // settings that must not be less, whatever starts the server; see RaiseNeeded

	WALKeepSize        int           // MB, 0: 256
	MaxSlotWALKeepSize int           // MB, 0: no limit
	WALTimeout         time.Duration // silence after which a replication connection is dropped; 0: 10 s
}

type setting struct{ name, value, why string }

// Managed renders managed.conf.
func Managed(s Settings) string {
	var b strings.Builder
	b.WriteString("# Written by pgtwin, replaced at any time. Put settings of your own into\n# " +
		filepath.Join(s.PGData, "postgresql.conf") + "; those below win over them.\n")
	for _, m := range managed(s) {
		fmt.Fprintf(&b, "\n# %s\n%s = %s\n", m.why, m.name, quoteSetting(m.value))
	}
	return b.String()
}

// ManagedNames are the settings that managed.conf always contains, for RemoveRecoverySettings.
func ManagedNames() []string {
	var names []string
	for _, m := range managed(Settings{}) {
		names = append(names, m.name)
	}
	return append(names, "hot_standby") // on the command line alone, see Server
}

func managed(s Settings) []setting {
	return slices.Concat(placeSettings(s), replicationSettings(s), failoverSettings(s), recoverySettings(s.Major), diskSettings(),
		commitSettings(s.SynchronousCommit), archiveSettings(s.Restore), raisedSettings(s.Raised), logSettings(s.Name))
}

func placeSettings(s Settings) []setting {
	place := []setting{
		{"data_directory", s.PGData, "The default of these three follows the configuration file, which is not in the data directory."},
		{"hba_file", filepath.Join(s.ConfDir, "pg_hba.conf"), "Ours comes first and takes in the administrator's."},
		{"ident_file", filepath.Join(s.ConfDir, "pg_ident.conf"), "Ours comes first and takes in the administrator's."},
		{"port", strconv.Itoa(s.Port), "The port of the cluster resource; the other nodes expect it."},
		{"unix_socket_directories", s.SocketDir, "pgtwin talks to the server here."},
		{"cluster_name", s.Name, "Shows in the process list which instance this is."},
	}
	if s.ListenAddresses != "" {
		place = append(place, setting{"listen_addresses", s.ListenAddresses, "Given to pgtwin; without it the administrator's counts."})
	}
	return place
}

func replicationSettings(s Settings) []setting {
	upstream := ""
	if s.Upstream != nil {
		upstream = s.primaryConninfo()
	}
	keep, timeout, slotKeep := s.WALKeepSize, s.WALTimeout, strconv.Itoa(s.MaxSlotWALKeepSize)+"MB"
	if keep == 0 {
		keep = 256
	}
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	if s.MaxSlotWALKeepSize == 0 {
		slotKeep = "-1"
	}
	millis := strconv.FormatInt(timeout.Milliseconds(), 10) + "ms"
	return []setting{
		{"restart_after_crash", "off", "After a crash the cluster decides who is primary, not the crashed server."},
		{"primary_conninfo", upstream, "Whom this server follows while it is a standby."},
		{"primary_slot_name", s.Slot, "The slot on the primary that keeps WAL for this server."},
		{"synchronous_standby_names", s.synchronous().String(), "Which standbys a commit waits for: exactly those that may be promoted."},
		{"wal_keep_size", strconv.Itoa(keep) + "MB", "pg_rewind needs the WAL before the fork, which a crash recovery would recycle."},
		{"wal_log_hints", "on", "pg_rewind needs it where the data have no checksums; with checksums it changes nothing."},
		{"max_slot_wal_keep_size", slotKeep, "How much WAL an absent standby may hold on to."},
		{"wal_retrieve_retry_interval", "200ms", "A promotion that meets a standby between two attempts to connect waits this long; the default is 5s."},
		{"wal_receiver_status_interval", "1s", "A standby says how far it is; switched off, it would acknowledge nothing that commits wait for."},
		{"wal_receiver_timeout", millis, "A standby notices a lost primary within this time; the default is 60s."},
		{"wal_sender_timeout", millis, "A primary notices a lost standby within this time; the default is 60s."},
	}
}

// synchronizesSlots is the first major version that can keep a primary's logical slots on a standby.
const synchronizesSlots = 17

// primaryConninfo names a database where slots can be synchronised, which takes a session in one.
func (s Settings) primaryConninfo() string {
	if s.Major < synchronizesSlots {
		return s.Upstream.replicating().Conninfo()
	}
	return s.Upstream.Conninfo()
}

// failoverSettings are what the manual asks for under "Logical Replication Failover".
func failoverSettings(s Settings) []setting {
	if !s.Failover || s.Major < synchronizesSlots {
		return nil
	}
	synchronizes := "off"
	if s.Upstream != nil {
		synchronizes = "on"
	}
	return []setting{
		{"sync_replication_slots", synchronizes, "A standby keeps the primary's failover slots, so that subscribers go on after its promotion."},
		{"hot_standby_feedback", "on", "Without it a standby synchronises no slots."},
		{"synchronized_standby_slots", strings.Join(s.SynchronizedSlots, ", "),
			"Subscribers get only what these have, the standbys that may be promoted: one that is lost would hold them up."},
	}
}

func logSettings(name string) []setting {
	return []setting{
		{"log_destination", "syslog", "The journal has the log, by priority, beside pgtwin's own."},
		{"logging_collector", "off", "No log files: the journal has the log."},
		{"syslog_ident", "pgtwin-" + name, "How the journal names this instance."},
		{"syslog_sequence_numbers", "off", "The journal needs no sequence numbers and drops no repeated lines."},
		{"syslog_split_messages", "off", "The journal takes messages of any length and many lines."},
	}
}

// SynchronousNames is the value of synchronous_standby_names that makes a commit wait for all of
// these standbys, by exact name; "" for none.
func SynchronousNames(names []string) string { return All(names, 0).String() }

// quoteName makes a name exact: not folded to lower case, no keyword and no pattern.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteSetting quotes a value for postgresql.conf, where backslashes escape (guc-file.l).
func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`).Replace(value) + "'"
}
