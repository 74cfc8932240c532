{{/* Takes a dict: root, name, port; jobLabel, or job as it is; key and values of the pods' label. An instance is called
as its pod, so that an executor that was restarted is the same. */}}
{{- define "llmsched.podMonitor" }}
{{- $monitors := .root.Values.monitoring.podMonitors }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "llmsched.fullname" .root }}-{{ .name }}
  labels:
    {{- include "llmsched.labels" (list .root "monitoring") | nindent 4 }}
    {{- with $monitors.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .jobLabel }}
  jobLabel: {{ . }}
  {{- end }}
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ .root.Chart.Name }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
    matchExpressions:
      - { key: {{ .key }}, operator: In, values: {{ toJson .values }} }
  podMetricsEndpoints:
    - port: {{ .port }}
      interval: {{ $monitors.interval }}
      relabelings:
        - { sourceLabels: [__meta_kubernetes_pod_name], targetLabel: instance }
        {{- with .job }}
        - { targetLabel: job, replacement: {{ . }} }
        {{- end }}
{{- end }}
