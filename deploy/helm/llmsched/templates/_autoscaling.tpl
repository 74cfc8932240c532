{{/* Executors that are scaled: component and how, as YAML. */}}
{{- define "llmsched.scaled" -}}
{{- $scaled := dict -}}
{{- range $name := keys .Values.llm.pools -}}
{{- $values := include "llmsched.pool" (list $ $name) | fromYaml -}}
{{- if $values.autoscaling.enabled -}}
{{- $_ := set $scaled (printf "llm-%s" $name) $values.autoscaling -}}
{{- end -}}
{{- end -}}
{{- if .Values.tools.autoscaling.enabled -}}
{{- $_ := set $scaled "tools" .Values.tools.autoscaling -}}
{{- end -}}
{{- toYaml $scaled -}}
{{- end }}

{{/* What autoscaling goes by, as recorded series. Only the leading scheduler's gauges mean something. A stage waits for
these executors only if none of their slots is free: what waits then needs something else. */}}
{{- define "llmsched.recordings" -}}
{{- $full := include "llmsched.fullname" . -}}
{{- $of := printf "namespace=%q,pod=~\"%s-scheduler-[0-9]+\"" .Release.Namespace $full -}}
{{- $leads := printf "and on (instance) llmsched_scheduler_leader{%s} == 1" $of -}}
{{- range $component, $_ := include "llmsched.scaled" . | fromYaml }}
{{- $own := printf "%s,llmsched_executor=~\"%s-%s-[0-9]+\"" $of $full $component }}
{{- $used := printf "sum(llmsched_executor_slots_used{%s} %s)" $own $leads }}
{{- $slots := printf "sum(llmsched_executor_slots{%s} %s)" $own $leads }}
- record: llmsched:waiting_stages
  expr: >-
    sum(llmsched_scheduler_ready_stages{ {{- $of -}} } {{ $leads }})
    * ({{ $used }} >= bool {{ $slots }})
  labels: { namespace: {{ $.Release.Namespace }}, executors: {{ $full }}-{{ $component }} }
- record: llmsched:busy_share
  expr: >-
    {{ $used }}
    / ({{ $slots }} > 0)
  labels: { namespace: {{ $.Release.Namespace }}, executors: {{ $full }}-{{ $component }} }
{{- end }}
{{- end }}
