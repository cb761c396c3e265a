package ocf

import "math"

// Type is the kind of a parameter's value.
type Type string

// The types. A Select is one of the parameter's Options.
const (
	String  Type = "string"
	Integer Type = "integer"
	Boolean Type = "boolean"
	Select  Type = "select"
)

// Parameter is one row of the table of parameters.
type Parameter struct {
	Name        string
	Type        Type
	Default     string
	Required    bool
	UniqueGroup string // no two resources may share the values of a group
	Reloadable  bool   // a change needs no restart
	Short, Long string

	Options  []string                     // of a Select
	Min, Max int64                        // of an Integer
	parse    func(string) (string, error) // of a String: nil takes every value
}

// Table is every parameter of the agent, in the order of the documentation.
// Metadata, defaults, validation and manual page come from here and nowhere
// else. The names, defaults and meanings are those of the shell agent of the
// same name, which this one replaces without a change to the configuration;
// only container_runtime is new.
func Table() []Parameter {
	return []Parameter{
		{Name: "pgdata", Type: String, Default: "/var/lib/pgsql/data", Required: true, UniqueGroup: "pgdata", parse: Path,
			Short: "Data directory",
			Long:  `Data directory of PostgreSQL, the same path on every node, with container_mode and without.`},
		{Name: "pghost", Type: String, Reloadable: true,
			Short: "Without effect",
			Long: `Accepted for existing configurations and without effect. The addresses that PostgreSQL listens on
are listen_addresses in postgresql.conf; pgtwin itself connects through the Unix socket.`},
		{Name: "pgport", Type: Integer, Default: "5432", Min: 1, Max: 65535,
			Short: "Port", Long: `TCP port of PostgreSQL, the same on every node.`},
		{Name: "pguser", Type: String, Default: "postgres", parse: userName,
			Short: "Owner of the database",
			Long:  `User of the operating system that owns the data directory and runs PostgreSQL, and superuser of the database.`},
		{Name: "application_name", Type: String, parse: Word,
			Short: "Prefix of the nodes' names in replication",
			Long: `Each node has a name of its own in replication, which pg_stat_replication and synchronous_standby_names show.
It is the node's name where this is empty, else VALUE_NODE, with every "-" and "." of the node's name as "_".`},
		{Name: "slot_name", Type: String, Default: "ha_slot", parse: slotName,
			Short: "Prefix of the replication slots",
			Long: `Every node keeps one physical replication slot for each peer, named VALUE_NODE. Idle slots of such a name that belong to
no node of the cluster are dropped.`},
		{Name: "max_slot_wal_keep_size", Type: Integer, Default: "1024", Max: math.MaxInt32, Reloadable: true,
			Short: "WAL kept for an absent standby, in MB",
			Long: `How much write-ahead log, in MB, a slot may keep for a standby that is away. A standby that was away for longer
is copied anew. 0 is no limit: then a standby that stays away fills the disk of the primary.`},
		{Name: "monitor_timeout_promoted", Type: Integer, Default: "60", Max: math.MaxInt32, Reloadable: true,
			Short: "Without effect",
			Long: `Accepted for existing configurations and without effect: the timeout of the monitor operation with role=Promoted is
what counts.`},
		{Name: "monitor_timeout_unpromoted", Type: Integer, Default: "30", Max: math.MaxInt32, Reloadable: true,
			Short: "Without effect",
			Long: `Accepted for existing configurations and without effect: the timeout of the monitor operation with role=Unpromoted is
what counts.`},
		{Name: "rep_mode", Type: Select, Default: "sync", Options: []string{"sync", "async", "strict"}, Reloadable: true,
			Short: "Synchronous or asynchronous replication",
			Long: `sync: a commit is acknowledged once the standby has it, so a failover loses none. When the standby is lost, the
primary goes on alone as soon as the cluster has recorded that this standby must not be promoted. With several standbys it
waits for all of them, or for as many as synchronous_standby_names in postgresql.conf says.
strict: as sync, but the primary never goes on alone: commits wait until a standby is back, however long that takes.
async: commits do not wait, and a failover may lose the last of them; see max_promotion_lag_bytes.`},
		{Name: "node_list", Type: String, Reloadable: true, parse: nodeList,
			Short: "Nodes of the database",
			Long: `Names of the cluster nodes that hold the database, separated by blanks, as crm_node -l prints them. Empty: the nodes
of the cluster. Where a name is not the address for replication, see "addresses" in pgtwin.toml.`},
		{Name: "backup_before_basebackup", Type: Boolean, Default: "true", Reloadable: true,
			Short: "Keep the old data directory before a new copy",
			Long: `true: a data directory that has to be replaced by a copy of the primary is kept beside the new one; how
many are kept is in pgtwin.toml (keep_replaced). false: it is removed once the copy is in sync. Until then the space for both
is needed.`},
		{Name: "basebackup_timeout", Type: Integer, Default: "3600", Min: 1, Max: math.MaxInt32, Reloadable: true,
			Short: "Time for copying the primary, in seconds",
			Long:  `A copy of the primary that takes longer than this, in seconds, is given up and begun again.`},
		{Name: "pgpassfile", Type: String, parse: optional(Path),
			Short: "Password file",
			Long: `File in libpq's format (.pgpass) with the user and password for replication. It is read again when it changes, and
never written. The role of a line whose database is "replication" is created and prepared by pgtwin; a role that has lines
for every database (*) alone is used as it is. Empty: .pgpass in /var/lib/PGUSER, in the home directory of pguser or in
/var/lib/pgsql, whichever is found first.`},
		{Name: "replication_failure_threshold", Type: Integer, Default: "5", Min: 1, Max: math.MaxInt32, Reloadable: true,
			Short: "Repairs of a standby before it is given up",
			Long: `A standby that receives nothing for five seconds although its primary serves is repaired: it connects anew, and where
it cannot go on from its data it is restarted, and rewound or copied from the primary. After this many attempts, of each
kind, it is left as it is and reported as degraded, until replication has gone well for a minute.`},
		{Name: "vip", Type: String, Reloadable: true, parse: optional(Address),
			Short: "Virtual address of the primary",
			Long: `Address under which clients reach the primary, shown in status. The address itself is a resource of its own,
ocf:heartbeat:IPaddr2, colocated with the promoted instance.`},
		{Name: "pg_bindir", Type: String, Default: "/usr/bin", parse: Path,
			Short: "Directory of PostgreSQL's programs",
			Long: `Directory of postgres, initdb, pg_basebackup, pg_rewind, pg_verifybackup and pg_waldump on the host. Where the default
has no PostgreSQL, or another major version's than the data, the directories of the distributions are searched. Without
effect where container_mode is true.`},
		{Name: "container_mode", Type: Boolean, Default: "false",
			Short: "Run PostgreSQL in a container",
			Long: `true: PostgreSQL runs in a container. false: it is started from pg_bindir. The data directory is the same, so that it
can be changed in both directions.`},
		{Name: "pg_major_version", Type: String, parse: optional(majorVersion),
			Short: "Major version of PostgreSQL",
			Long: `Major version, 14 or later, that the data directory and the programs or the image must have. Optional:
where it is given, anything else is refused.`},
		{Name: "container_name", Type: String, Default: "postgres-ha", UniqueGroup: "container_name", parse: InstanceName,
			Short: "Name of the instance",
			Long: `Name of the instance, and with container_mode of its container: the systemd units are pgtwin@NAME.service and
pgtwin-supervisor@NAME.service, also without a container.`},
		{Name: "container_image", Type: String, parse: imageName,
			Default: "registry.opensuse.org/devel/bci/tumbleweed/containerfile/opensuse/postgres:17.6-158.5",
			Short:   "Container image",
			Long: `Image with PostgreSQL, as registry/name:tag or registry/name@digest. A
start uses an image that the host has and never waits for a registry.`},
		{Name: "container_runtime", Type: Select, Default: "auto", Options: []string{"auto", "podman", "docker"},
			Short: "Container runtime",
			Long:  `podman, docker, or auto: podman where it is installed, else docker.`},
		{Name: "max_promotion_lag_bytes", Type: Integer, Default: "10485760", Min: -1, Max: math.MaxInt64, Reloadable: true,
			Short: "Lag up to which a standby is promoted, in bytes",
			Long: `With rep_mode=async: a standby that is known to lack more than this many bytes of write-ahead log is not promoted by
itself. 0: none may be missing. -1: no limit. Without effect with rep_mode=sync or strict.`},
		{Name: "force_promotion", Type: Boolean, Default: "false", Reloadable: true,
			Short: "Promote without the checks that protect data",
			Long: `true: a standby is promoted even where acknowledged commits would be lost. For an emergency in which the other data is
gone for good; set it back to false at once.`},
	}
}
