package cluster

import (
	"bytes"
	"cmp"
	"fmt"
	"text/template"

	"pgtwin/test/lab"
)

// configuration is what users of the agent load today, in crmsh's syntax.
var configuration = template.Must(template.New("crm").Parse(`
primitive postgres-db ocf:heartbeat:pgtwin \
	params pgdata="/var/lib/pgsql/data" container_mode="{{.Containers}}" pg_major_version="{{.Major}}" \
		container_name="postgres-ha" container_image="localhost/postgres:{{.Major}}" rep_mode="sync" node_list="{{range $i, $h := .Names}}{{if $i}} {{end}}{{$h}}{{end}}" \
		pgpassfile="/var/lib/pgsql/.pgpass" vip="{{.VIP}}" slot_name="ha_slot"
		{{- if not .Containers}} pg_bindir="/usr/lib/postgresql/{{.Major}}/bin"{{end}}
		{{- with .Runtime}} container_runtime="{{.}}"{{end}} \
	op start timeout=120 interval=0 \
	op stop timeout=120 interval=0 \
	op promote timeout=120 interval=0 \
	op demote timeout=120 interval=0 \
	op monitor interval=3s role=Promoted timeout=60 \
	op monitor interval=10s role=Unpromoted timeout=60 \
	op notify timeout=90 interval=0
clone postgres-clone postgres-db \
	meta promotable=true promoted-max=1 promoted-node-max=1 clone-max={{len .Names}} clone-node-max=1 notify={{.Notify}} interleave=true
primitive postgres-vip IPaddr2 \
	params ip={{.VIP}} cidr_netmask=24 \
	op monitor interval=10s timeout=20
colocation vip-with-primary inf: postgres-vip postgres-clone:Promoted
order primary-before-vip Mandatory: postgres-clone:promote postgres-vip:start symmetrical=false
{{- if .Preferences}}
location prefer-h1 postgres-clone role=Promoted 100: h1
location prefer-h2 postgres-clone role=Promoted 50: h2
{{- end}}
rsc_defaults rsc-options: resource-stickiness=100
`[1:]))

// Configuration is the cluster configuration for crm configure load update.
func Configuration(o Options) string {
	var b bytes.Buffer
	values := struct {
		Options
		Names      []string
		VIP, Major string
	}{o, o.names(), lab.VirtualIP, lab.PostgreSQL(o.Base)}
	if err := configuration.Execute(&b, values); err != nil {
		panic(err) // the template is a constant and a buffer takes everything
	}
	return b.String()
}

// names are those of the hosts, as the lab gives them.
func (o Options) names() []string {
	var all []string
	for n := range cmp.Or(o.Hosts, 2) {
		all = append(all, fmt.Sprintf("h%d", n+1))
	}
	return all
}

// settings is the administrator's pgtwin.toml.
var settings = fmt.Sprintf(`
[instance.%s]
http_listen = ":%d"

[instance.%[1]s.limits]
MemoryMax = "1G"
CPUWeight = "200"
IOWeight = "300"
TasksMax = "500"
`[1:], Instance, HTTPPort)

// passFile is the credentials for replication, in libpq's format.
func passFile(secret string) string {
	return fmt.Sprintf("*:*:replication:replicator:%s\n*:*:postgres:replicator:%[1]s\n", secret)
}
