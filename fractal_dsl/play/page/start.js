// Begin with the net of the link, or else with the first document.
openLink();
