"""What any long-running program needs: durable files, parallel work, devices, signals, clocks. Knows no models."""
