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

{{/*
A job before each install and upgrade; its context is a dict of root, name, arguments and secrets. Whatever it needs must be there
before the rest of the release, so it has an account of its own, which goes again with it.
*/}}
{{- define "position-sizer.job" -}}
{{- $root := .root }}
{{- $secrets := default $root.Values.secrets .secrets }}
{{- $name := printf "%s-%s" (include "position-sizer.fullname" $root) .name }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  labels:
    {{- include "position-sizer.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-1"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
automountServiceAccountToken: false
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "position-sizer.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "0"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 300
  template:
    metadata:
      labels:
        {{- include "position-sizer.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
    spec:
      {{- include "position-sizer.command" (dict "root" $root "account" $name "arguments" .arguments "secrets" $secrets) | nindent 6 }}
{{- end }}

{{/* A pod that does one thing and ends; its context is a dict of root, account, arguments and secrets. */}}
{{- define "position-sizer.command" -}}
serviceAccountName: {{ .account }}
{{ include "position-sizer.pod" .root }}
restartPolicy: Never
containers:
  - name: sizer
    {{- include "position-sizer.container" .root | nindent 4 }}
    args: {{ toJson .arguments }}
    env:
      {{- include "position-sizer.environment" . | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 128Mi}
      limits: {memory: 256Mi}
    volumeMounts:
      - {name: temporary, mountPath: /tmp}
      {{- if .secrets }}
      - {name: secrets, mountPath: /etc/position-sizer/secrets, readOnly: true}
      {{- end }}
volumes:
  - name: temporary
    emptyDir: {sizeLimit: 64Mi}
  {{- if .secrets }}
  {{- include "position-sizer.secrets" .secrets | nindent 2 }}
  {{- end }}
{{- end }}
