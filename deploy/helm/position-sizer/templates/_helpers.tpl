{{/* What is wrong with the values beyond what their schema can say. */}}
{{- define "position-sizer.check" -}}
{{- if not .Values.kafka.bootstrapServers }}{{ fail "kafka.bootstrapServers: say where Kafka is, as host:port,host:port" }}{{ end -}}
{{- if gt (int .Values.replicas) (int .Values.partitions) }}
{{- fail (printf "replicas: %d workers, but only %d partitions: more would idle" (int .Values.replicas) (int .Values.partitions)) }}
{{- end -}}
{{- end }}

{{- define "position-sizer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "position-sizer.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "position-sizer.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "position-sizer.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "position-sizer.selector" -}}
app.kubernetes.io/name: {{ include "position-sizer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "position-sizer.labels" -}}
{{ include "position-sizer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "position-sizer.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* Of a pod: nobody's account, no token, no root. */}}
{{- define "position-sizer.pod" -}}
serviceAccountName: {{ include "position-sizer.fullname" . }}
automountServiceAccountToken: false
# Else the name of a Service could become a setting.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Of a container. */}}
{{- define "position-sizer.container" -}}
image: {{ include "position-sizer.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* The environment that a worker and a job share; its context is a dict of root and secrets. */}}
{{- define "position-sizer.environment" -}}
{{- with .root.Values -}}
- {name: SIZER_BOOTSTRAP_SERVERS, value: {{ .kafka.bootstrapServers | quote }}}
- {name: SIZER_APP_ID, value: {{ .appId | quote }}}
- {name: SIZER_TOPIC_PREFIX, value: {{ .topicPrefix | quote }}}
{{- range $name, $value := .settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}
{{- if .secrets }}
- {name: SIZER_SECRETS_DIR, value: /etc/position-sizer/secrets}
{{- end }}
{{- end }}

{{/* The secrets as one folder of files; its context is the list. */}}
{{- define "position-sizer.secrets" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret:
          {{- toYaml . | nindent 10 }}
      {{- end }}
{{- end }}
