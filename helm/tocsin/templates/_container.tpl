{{- /* What the container is in either form; a dict of root (the chart's context), role and sidecar (true or false). */ -}}
{{- define "tocsin.container" -}}
{{- $values := .root.Values -}}
name: tocsin
image: {{ include "tocsin.image" .root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [run, --config, /etc/tocsin/tocsin.yaml, --role, {{ .role }}]
env:
  - name: TOCSIN_HTTP__LISTEN
    value: {{ printf "%s:%v" $values.http.host $values.http.port | quote }}
  - name: TOCSIN_STATE_DIR
    value: /var/lib/tocsin/state
  - name: TOCSIN_REGISTRY
    value: /var/lib/tocsin/registry
  {{- if and .sidecar $values.sidecar.groupPerPod }}
  - name: TOCSIN_POD
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: TOCSIN_KAFKA__GROUP_ID
    value: {{ printf "%s-$(TOCSIN_POD)" (dig "kafka" "group_id" "tocsin" $values.config) }}
  {{- end }}
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: {{ ternary "tocsin-metrics" "metrics" .sidecar }}
    containerPort: {{ $values.http.port }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  {{- with $values.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with $values.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  privileged: false
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
livenessProbe:
  {{- include "tocsin.probe" (dict "path" "/healthz" "port" $values.http.port) | nindent 2 }}
  periodSeconds: 30
  failureThreshold: {{ div (add $values.livenessPatienceSeconds 29) 30 }}
{{- if or (not .sidecar) $values.sidecar.gatesServing }}
startupProbe:
  {{- include "tocsin.probe" (dict "path" "/healthz" "port" $values.http.port) | nindent 2 }}
  periodSeconds: 5
  failureThreshold: 60
readinessProbe:
  {{- include "tocsin.probe" (dict "path" "/readyz" "port" $values.http.port) | nindent 2 }}
  periodSeconds: 10
  failureThreshold: 3
{{- end }}
volumeMounts:
  - name: tocsin-config
    mountPath: /etc/tocsin
    readOnly: true
  - name: {{ include "tocsin.stateVolume" . }}
    mountPath: /var/lib/tocsin/state
    {{- with $values.state.subPath }}
    subPath: {{ . }}
    {{- end }}
  - name: {{ $values.registry.volumeName | default "tocsin-registry" }}
    mountPath: /var/lib/tocsin/registry
    readOnly: {{ or .sidecar $values.registry.readOnly }}
    {{- with $values.registry.subPath }}
    subPath: {{ . }}
    {{- end }}
  - name: tocsin-tmp
    mountPath: /tmp
  {{- range $values.secrets }}
  - name: tocsin-secret-{{ .name }}
    mountPath: /run/tocsin/secrets/{{ .name }}
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "tocsin.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
timeoutSeconds: 10
{{- end -}}

{{- define "tocsin.stateVolume" -}}
{{- .root.Values.state.volumeName | default "tocsin-state" -}}
{{- end -}}

{{- /* The volumes that both forms need, but for the state. */ -}}
{{- define "tocsin.sharedVolumes" -}}
- name: tocsin-config
  configMap:
    name: {{ include "tocsin.fullname" . }}
- name: tocsin-tmp
  emptyDir:
    sizeLimit: {{ .Values.tmpSize }}
{{- if not .Values.registry.volumeName }}
- name: tocsin-registry
{{- with .Values.registry.volume }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- fail "registry: name the volume with the model versions, registry.volume or registry.volumeName" }}
{{- end }}
{{- end }}
{{- range .Values.secrets }}
- name: tocsin-secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tocsin.scratchState" -}}
- name: tocsin-state
  emptyDir:
    sizeLimit: {{ .Values.state.scratchSize }}
{{- end -}}
