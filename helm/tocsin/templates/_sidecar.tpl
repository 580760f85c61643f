{{- /*
A native sidecar for a Pod of yours: one entry of its initContainers. In the templates of a chart that depends on this one:

  initContainers:
    {{- include "tocsin.sidecar" .Subcharts.tocsin | nindent 4 }}
  volumes:
    {{- include "tocsin.volumes" .Subcharts.tocsin | nindent 4 }}

It only sees and tells: no rights, no action, the registry read-only. It starts before the model server and stops after it.
*/ -}}
{{- define "tocsin.sidecar" -}}
- restartPolicy: Always
  {{- include "tocsin.container" (dict "root" . "role" "watcher" "sidecar" true) | nindent 2 }}
{{- end -}}

{{- define "tocsin.volumes" -}}
{{ include "tocsin.sharedVolumes" . }}
{{- if not .Values.state.volumeName }}
{{ include "tocsin.scratchState" . }}
{{- end }}
{{- end -}}
