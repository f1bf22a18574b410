"""Where on a film a finding is: boxes, a YOLOv8 detector trained on them, masks.

The detector needs the ``regions`` extra (ultralytics, AGPL-3.0); nothing else imports it.
"""
