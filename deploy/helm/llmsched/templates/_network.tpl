{{/* The beginning of a component's policy. What it allows comes on top of what the default one does. */}}
{{- define "llmsched.policy" }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "llmsched.fullname" (index . 0) }}-{{ index . 1 }}
  labels: {{- include "llmsched.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "llmsched.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}

{{/* Takes a list: the root, components. Their pods as peers. */}}
{{- define "llmsched.peers" -}}
{{- $root := index . 0 -}}
{{- range rest . }}
- podSelector:
    matchLabels: {{- include "llmsched.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end }}

{{/* Takes a list: the root, a component, its port. */}}
{{- define "llmsched.to" -}}
- to: {{- include "llmsched.peers" (list (index . 0) (index . 1)) | trim | nindent 4 }}
  ports: [{ port: {{ index . 2 }} }]
{{- end }}

{{/* Takes a list: the root, a port. */}}
{{- define "llmsched.fromPrometheus" -}}
- from: {{- toYaml (index . 0).Values.networkPolicy.prometheus | nindent 4 }}
  ports: [{ port: {{ index . 1 }} }]
{{- end }}

{{- define "llmsched.toStore" -}}
{{- if .Values.valkey.enabled -}}
{{ include "llmsched.to" (list . "valkey" 6379) }}
{{- else -}}
{{- $store := .Values.networkPolicy.redis -}}
- ports:
    {{- range $store.ports }}
    - { port: {{ . }} }
    {{- end }}
  {{- with $store.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end }}

{{- define "llmsched.toCollector" -}}
{{- with .Values.telemetry.tracesEndpoint -}}
- ports: [{ port: {{ include "llmsched.port" . }} }]
  {{- with $.Values.networkPolicy.collector }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end }}

{{/* Takes an engine's values. One in the same pod needs the hub of its weights at most. */}}
{{- define "llmsched.toEngine" -}}
{{- if eq .kind "external" -}}
- ports: [{ port: {{ include "llmsched.port" .url }} }]
{{- else if and (eq .kind "sglang") (not (hasPrefix "/" .model)) -}}
- ports: [{ port: 443 }]
{{- end -}}
{{- end }}

{{/* The port of a URL. */}}
{{- define "llmsched.port" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (eq $url.scheme "https")) $port -}}
{{- end }}
