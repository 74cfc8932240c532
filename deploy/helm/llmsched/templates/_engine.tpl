{{/* Takes a list: the root, the engine's values. The engine as a sidecar. */}}
{{- define "llmsched.engine" -}}
{{- $root := index . 0 -}}
{{- $engine := index . 1 -}}
- name: engine
  restartPolicy: Always
  ports:
    - { name: engine, containerPort: 30000 }
  {{- if eq $engine.kind "simulator" }}
  {{- include "llmsched.simulator" . | nindent 2 }}
  {{- else }}
  {{- include "llmsched.sglang" . | nindent 2 }}
  {{- end }}
  startupProbe:
    httpGet: { path: /health, port: engine }
    periodSeconds: 5
    timeoutSeconds: 4
    failureThreshold: {{ max 1 (div $engine.startSeconds 5) }}
  livenessProbe:
    httpGet: { path: /health, port: engine }
    periodSeconds: 10
    timeoutSeconds: 8
    failureThreshold: 6
{{- end }}

{{- define "llmsched.simulator" -}}
{{- $root := index . 0 -}}
{{- $engine := index . 1 -}}
args:
  {{- range concat (list "engine-sim" "--host" "0.0.0.0" "--port" "30000") $engine.args }}
  - {{ . | quote }}
  {{- end }}
{{ include "llmsched.container" $root }}
securityContext: {{- include "llmsched.containerSecurity" $root | nindent 2 }}
{{- with $engine.extraEnv }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- include "llmsched.engineResources" $engine | nindent 2 }}
{{- end }}

{{/* Takes the engine's values. Where nobody says what it may use: little for the simulator, as compose.gpu.yaml for SGLang. */}}
{{- define "llmsched.engineResources" -}}
{{- $small := dict "requests" (dict "cpu" "250m" "memory" "256Mi") "limits" (dict "memory" "1Gi") -}}
{{- $large := dict "requests" (dict "cpu" "4" "memory" "32Gi") "limits" (dict "memory" "64Gi") -}}
{{- $resources := deepCopy (default (ternary $small $large (eq .kind "simulator")) .resources) -}}
{{- if and (eq .kind "sglang") .gpus -}}
{{- $resources = mustMergeOverwrite $resources (dict "limits" (dict .gpuResource (toString .gpus))) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{- define "llmsched.sglang" -}}
{{- $root := index . 0 -}}
{{- $engine := index . 1 -}}
{{- if not $engine.model -}}
{{- fail "llm.engine.model must name a model for the engine sglang, as Qwen/Qwen2.5-7B-Instruct or /models/NAME" -}}
{{- end -}}
image: {{ $engine.image }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [python3, -m, sglang.launch_server]
# Priorities carry the scheduler's order into the engine; metrics also add queue times to its replies.
args:
  - --model-path
  - {{ $engine.model | quote }}
  - --host
  - 0.0.0.0
  - --port
  - "30000"
  - --enable-priority-scheduling
  - --enable-metrics
  - --constrained-json-disable-any-whitespace
  {{- if gt (int $engine.gpus) 1 }}
  - --tp
  - {{ $engine.gpus | quote }}
  {{- end }}
  {{- range $engine.args }}
  - {{ . | quote }}
  {{- end }}
env:
  # Weights and the kernels that it compiles go into the volume; caches are named after the user, which /etc/passwd lacks.
  - { name: HOME, value: /cache }
  - { name: USER, value: llmsched }
  {{- with $engine.tokenSecret.name }}
  - name: HF_TOKEN
    valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $engine.tokenSecret.key }} } }
  {{- end }}
  {{- with $engine.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - { name: cache, mountPath: /cache }
  - { name: shm, mountPath: /dev/shm }
  - { name: engine-tmp, mountPath: /tmp }
  {{- if $engine.modelsClaim }}
  - { name: models, mountPath: /models, readOnly: true }
  {{- end }}
{{- $security := include "llmsched.containerSecurity" $root | fromYaml }}
securityContext: {{- mustMergeOverwrite $security (deepCopy $engine.securityContext) | toYaml | nindent 2 }}
resources: {{- include "llmsched.engineResources" $engine | nindent 2 }}
{{- end }}

{{/* Takes the engine's values: where the executor finds it. */}}
{{- define "llmsched.engineEnv" -}}
{{- if ne .kind "external" -}}
- name: LLMSCHED_EXECUTOR_ENGINE_URL
  value: http://127.0.0.1:30000
{{- else -}}
{{- if not .url -}}
{{- fail "llm.engine.url must say where the external engine is, as https://host/v1" -}}
{{- end -}}
- name: LLMSCHED_EXECUTOR_ENGINE_URL
  value: {{ .url | quote }}
- name: LLMSCHED_EXECUTOR_ENGINE
  value: {{ .protocol }}
{{- with .apiKeySecret.name }}
- name: LLMSCHED_EXECUTOR_API_KEY_ENV
  value: ENGINE_API_KEY
- name: ENGINE_API_KEY
  valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $.apiKeySecret.key }} } }
{{- end }}
{{- end -}}
{{- end }}
