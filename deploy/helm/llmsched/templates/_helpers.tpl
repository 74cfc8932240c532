{{/* Names. Short enough that a pod's name, with pool and number, is still a label. */}}
{{- define "llmsched.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- end }}

{{/* Takes a list: the root, the component. What selects its pods, and nothing else does. */}}
{{- define "llmsched.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "llmsched.labels" -}}
{{- $root := index . 0 -}}
{{ include "llmsched.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Without versions: a new chart that changes nothing of a pod must not restart engines. */}}
{{- define "llmsched.podLabels" -}}
{{ include "llmsched.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "llmsched.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{/* Addresses. With the namespace, since a scheduler tells its own to clients anywhere in the cluster. */}}
{{- define "llmsched.planner" -}}
{{ include "llmsched.fullname" . }}-planner.{{ .Release.Namespace }}.svc:7411
{{- end }}

{{- define "llmsched.profiler" -}}
{{ include "llmsched.fullname" . }}-profiler.{{ .Release.Namespace }}.svc:7413
{{- end }}

{{- define "llmsched.schedulers" -}}
{{- $service := printf "%s-scheduler" (include "llmsched.fullname" .) -}}
{{- range $number := until (int .Values.scheduler.replicas) -}}
{{ if $number }},{{ end }}{{ $service }}-{{ $number }}.{{ $service }}.{{ $.Release.Namespace }}.svc:7412
{{- end -}}
{{- end }}

{{/* Takes a dict: prefix, settings. Numbers as JSON writes them: Helm itself makes 1e+06 of a million. */}}
{{- define "llmsched.settings" -}}
{{- range $name, $value := .settings }}
- name: LLMSCHED_{{ $.prefix }}_{{ upper $name }}
  {{- if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else if kindIs "string" $value }}
  value: {{ $value | quote }}
  {{- else }}
  value: {{ toJson $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "llmsched.stateEnv" -}}
- name: LLMSCHED_SHARD
  value: {{ .Values.shard | quote }}
- name: LLMSCHED_REDIS_URL
  {{- if .Values.valkey.enabled }}
  value: redis://{{ include "llmsched.fullname" . }}-valkey.{{ .Release.Namespace }}.svc:6379/0
  {{- else }}
  valueFrom:
    secretKeyRef:
      {{- if .Values.redis.existingSecret }}
      name: {{ .Values.redis.existingSecret }}
      key: {{ .Values.redis.existingSecretKey }}
      {{- else }}
      name: {{ include "llmsched.fullname" . }}-redis
      key: url
      {{- end }}
  {{- end }}
{{- end }}

{{- define "llmsched.telemetryEnv" -}}
- name: LLMSCHED_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- if .Values.telemetry.metrics }}
- name: OTEL_METRICS_EXPORTER
  value: prometheus
- name: OTEL_EXPORTER_PROMETHEUS_HOST
  value: 0.0.0.0
- name: OTEL_EXPORTER_PROMETHEUS_PORT
  value: "9464"
{{- end }}
{{- with .Values.telemetry.tracesEndpoint }}
- name: OTEL_TRACES_EXPORTER
  value: otlp
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Pods roll when the URL in our own Secret changes. */}}
{{- define "llmsched.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- $annotations := index . 1 -}}
{{- with $root.Values.redis.url }}
{{- $annotations = merge (dict "checksum/redis" (sha256sum .)) $annotations }}
{{- end }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes a list: the root, the component, its values. What every pod has. */}}
{{- define "llmsched.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "llmsched.fullname" $root }}
automountServiceAccountToken: false
# Else a Service called llmsched-scheduler would put LLMSCHED_SCHEDULER_… variables into our environment.
enableServiceLinks: false
securityContext: {{- include "llmsched.podSecurity" 10001 | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- include "llmsched.placement" $values }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "llmsched.selector" (list $root (index $ 1)) | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "llmsched.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes the number of the user and group. */}}
{{- define "llmsched.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "llmsched.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* What containers of our image have. */}}
{{- define "llmsched.container" -}}
image: {{ include "llmsched.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
volumeMounts:
  - { name: tmp, mountPath: /tmp }
{{- end }}

{{/* In memory, as in Compose: a program that fills it gets an error, where a full disk would have the pod evicted. */}}
{{- define "llmsched.tmp" -}}
- name: tmp
  emptyDir: { medium: Memory, sizeLimit: 256Mi }
{{- end }}

{{/* Takes a dict: port, and the name that is SERVING when the service may be asked (of a scheduler only the leader's
is, so standbys are ready by the name of the process, which is none). */}}
{{- define "llmsched.grpcProbes" -}}
startupProbe:
  grpc: { port: {{ .port }} }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  grpc: { port: {{ .port }} }
  periodSeconds: 10
  timeoutSeconds: 8
  failureThreshold: 3
readinessProbe:
  grpc: { port: {{ .port }}{{ with .service }}, service: {{ . }}{{ end }} }
  periodSeconds: 5
  timeoutSeconds: 4
  failureThreshold: 2
{{- end }}

{{/* An executor listens nowhere: the leading scheduler is asked about it. So there is no liveness probe, which would
restart all executors, with what they run, whenever no scheduler leads. */}}
{{- define "llmsched.executorProbes" -}}
readinessProbe:
  exec: { command: [llmsched, health, executor] }
  periodSeconds: 15
  timeoutSeconds: 8
  failureThreshold: 3
{{- end }}

{{/* Takes a list: the root, the values of a pool or the tools. */}}
{{- define "llmsched.executorEnv" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
- name: LLMSCHED_EXECUTOR_ID
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: LLMSCHED_SCHEDULERS
  value: {{ include "llmsched.schedulers" $root }}
- name: LLMSCHED_EXECUTOR_DRAIN_SECONDS
  value: {{ toJson $values.drainSeconds | quote }}
{{ include "llmsched.telemetryEnv" $root }}
{{- end }}

{{/* Takes a list: the root, the name of a pool. Its values, as YAML: what it does not say is llm's. */}}
{{- define "llmsched.pool" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.llm.pools (index . 1) | default dict -}}
{{- mustMergeOverwrite (deepCopy (omit $root.Values.llm "pools")) (deepCopy $own) | toYaml -}}
{{- end }}
