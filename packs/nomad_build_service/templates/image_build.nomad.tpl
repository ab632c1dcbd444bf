[[ template "image_build" (list . "default") ]]
