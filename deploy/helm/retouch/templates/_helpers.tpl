{{- define "retouch.name" -}}
{{- if eq .Release.Name "retouch" }}retouch{{ else }}{{ printf "%s-retouch" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "retouch.labels" -}}
app.kubernetes.io/name: retouch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Of one component: a dict with root and component. */}}
{{- define "retouch.selector" -}}
app.kubernetes.io/name: retouch
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* An image's name: a dict with root and part. */}}
{{- define "retouch.image" -}}
{{- $tag := .root.Values.images.tag | default .root.Chart.AppVersion -}}
{{- with .root.Values.images.registry }}{{ . }}/{{ end }}retouch-{{ .part }}:{{ $tag }}
{{- end }}

{{- define "retouch.storeUrl" -}}
{{- .Values.store.url | default (printf "redis://%s-store:6379/0" (include "retouch.name" .)) }}
{{- end }}

{{- define "retouch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "retouch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment of gateway and workers: a dict with root and own, the settings of this component. Later ones go first. */}}
{{- define "retouch.environment" -}}
{{- $values := .root.Values -}}
{{- $given := dict
  "RETOUCH_REDIS_URL" (include "retouch.storeUrl" .root)
  "RETOUCH_DATA_DIR" "/data"
  "RETOUCH_LORAS_DIR" "/loras,/app/loras"
  "RETOUCH_BLOB_URL" $values.blobs.url
  "RETOUCH_BLOB_LINKS" $values.blobs.links -}}
{{- with $values.loras.url }}{{ $_ := set $given "RETOUCH_LORAS_URL" . }}{{ end }}
{{- if not $values.blobs.url }}{{ $_ := set $given "RETOUCH_BLOB_URL" "file:///blobs" }}{{ end }}
{{- $every := mergeOverwrite $given (deepCopy $values.settings) .own -}}
env:
{{- range $name, $value := $every }}
  - name: {{ $name }}
    value: {{ $value | toString | quote }}
{{- end }}
{{- with $values.existingSecret }}
envFrom:
  - secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "retouch.mounts" -}}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: data, mountPath: /data}
  - {name: loras, mountPath: /loras, readOnly: true}
  {{- if .Values.models.existingClaim }}
  - {name: models, mountPath: /models, readOnly: true}
  {{- end }}
  {{- if not .Values.blobs.url }}
  - {name: blobs, mountPath: /blobs}
  {{- end }}
{{- end }}

{{- define "retouch.volumes" -}}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: data, emptyDir: {}}
  {{- if .Values.loras.existingClaim }}
  - {name: loras, persistentVolumeClaim: {claimName: {{ .Values.loras.existingClaim | quote }}, readOnly: true}}
  {{- else }}
  - {name: loras, emptyDir: {}}
  {{- end }}
  {{- with .Values.models.existingClaim }}
  - {name: models, persistentVolumeClaim: {claimName: {{ . | quote }}, readOnly: true}}
  {{- end }}
  {{- if not .Values.blobs.url }}
  - {name: blobs, persistentVolumeClaim: {claimName: {{ required "blobs.existingClaim: a ReadWriteMany volume, if blobs.url is empty" .Values.blobs.existingClaim | quote }}}}
  {{- end }}
{{- end }}

{{/* Placement of a pod: a dict with own. */}}
{{- define "retouch.placement" -}}
{{- with .own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
